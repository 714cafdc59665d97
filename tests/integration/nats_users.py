"""A server with the users that `make nats-permissions` writes, for the tests of security."""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.settings import Settings, load

ROOT: Final = Path(__file__).parents[2]
USERS: Final = ROOT / "deploy/nats/accounts.conf"
PASSWORD: Final = "secret"  # noqa: S105 - of every user here


class GuardedServer(Server):
    """A server with the generated users, and more of a configuration's lines."""

    def __init__(self, store: Path, lines: str = "") -> None:
        super().__init__(store)
        self.lines = lines or f"accounts {{ include {json.dumps(os.path.relpath(USERS, store))} }}"

    def _config(self) -> str:
        usual = [line for line in super()._config().splitlines() if "token" not in line]
        return "\n".join([*usual, self.lines])


@asynccontextmanager
async def serving(store: Path, lines: str = "") -> AsyncIterator[Server]:
    server = GuardedServer(store, lines)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def set_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server find the password of every user."""
    for name in re.findall(r"\$(RUNMESH_\w+_PASSWORD)", USERS.read_text()):
        monkeypatch.setenv(name, PASSWORD)


@asynccontextmanager
async def provisioned(store: Path) -> AsyncIterator[Server]:
    """A server with the generated users, and a mesh that its provisioner has made."""
    async with serving(store) as running:
        async with connected(running, "provisioner") as bus:
            assert await provision(bus)
            assert await provision(bus) == []
            assert not bus.fatal.done()
        yield running


def settings(server: Server, user: str, **more: Any) -> Settings:
    known = {"nats_url": server.url, "nats_user": user, "nats_password": PASSWORD, "nats_inbox": f"_INBOX.{user}"}
    return load(**{**known, "log_level": "error", "ack_wait": 2.0, "sweep_interval": 0.5, **more})


@asynccontextmanager
async def connected(server: Server, user: str) -> AsyncIterator[Bus]:
    async with connect(server.url, name=user, **settings(server, user).login) as bus:
        yield bus

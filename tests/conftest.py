"""A real nats-server for the whole session, a fresh mesh on it for every test that asks for `bus`."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings
from structlog.dev import ConsoleRenderer, plain_traceback

from runmesh.bus import Bus, connect, provision
from runmesh.bus.refusals import Refused
from runmesh.embedded import Server, embedded
from runmesh.platforms import reach
from tests.sharing import Sharing

CONTAINED = os.environ.get("RUNMESH_TEST_NATS") == "container"
"""Whether the session's server is in a container: `make test-container`."""

# How fast this machine is must not decide whether a test passes.
settings.register_profile("runmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("runmesh")

# structlog's own tracebacks show every local variable: a tenth of a second each, of a loop that has leases to keep.
structlog.configure(
    processors=[structlog.processors.add_log_level, ConsoleRenderer(exception_formatter=plain_traceback)]
)


# Imports and collecting leave next to no garbage, and looking for it takes a tenth of their time.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    """Share out tests as `sharing.py` says."""
    return Sharing(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where NATS is in a container, what doesn't meet it: `make test` runs that."""
    if CONTAINED:
        meets = {item: "nats_address" in getattr(item, "fixturenames", ()) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if not meets[item]])
        items[:] = [item for item in items if meets[item]]


def pytest_collection_finish() -> None:
    """Search for garbage as the services do (`run_service`): what was imported and collected stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    gc.enable()


@pytest.fixture(autouse=True)
def _platforms_not_called_yet() -> None:
    """A worker's process knows one platform; that of the tests calls many, which other tests have broken."""
    reach._failing.clear()  # noqa: SLF001


STORE_IS_BUSY = 10049
CONTAINERS_TOKEN = "known-to-tests"  # noqa: S105 - of a server that lives for the length of the tests
ACK_WAIT = 3.0
"""The lease in tests, in seconds: longer than a busy machine holds up a loop."""


@dataclass(frozen=True)
class Address:
    """Where a nats-server listens."""

    url: str
    token: str


class Relaxed(Server):
    """Leaves it to the system when to write to the disk: ten times a second are most of what an idle server does."""

    def _config(self) -> str:
        return super()._config().replace("sync_interval: 100ms", "sync_interval: 2m")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_address() -> AsyncIterator[Address]:
    """The session's server. Every pytest-xdist worker is a session of its own."""
    if CONTAINED:
        from tests.container.nats import contained  # noqa: PLC0415 - no other test needs an engine's client

        async with contained(CONTAINERS_TOKEN) as url:
            yield Address(url, CONTAINERS_TOKEN)
    else:
        with TemporaryDirectory(prefix="runmesh-nats-") as directory:
            server = Relaxed(Path(directory))
            try:
                await server.start()
                yield Address(server.url, server.token)
            finally:
                await server.stop()


@pytest.fixture(scope="session")
def untouched() -> dict[str, Any]:
    """How each stream of the session's server is to which nothing has happened, once that is known."""
    return {}


@pytest.fixture
async def bus(nats_address: Address, untouched: dict[str, Any]) -> AsyncIterator[Bus]:
    """A connection to a server that holds nothing but a freshly provisioned mesh.

    To make a stream takes the server some milliseconds: those that no test has touched stay.
    """
    async with connect(nats_address.url, name="test", token=nats_address.token) as connected:
        touched = [name for name, state in (await streams(connected)).items() if state != untouched.get(name)]
        await asyncio.gather(*(connected.api(f"STREAM.DELETE.{name}") for name in touched))
        await provisioned(connected)
        if not untouched:
            untouched |= await streams(connected)
        yield connected


async def streams(bus: Bus) -> dict[str, Any]:
    """Return what a test may change of a stream: its configuration, what was written to it, how many consume it."""
    found = (await bus.api("STREAM.LIST"))["streams"] or ()
    return {
        each["config"]["name"]: (each["config"], each["state"]["last_seq"], each["state"]["consumer_count"])
        for each in found
    }


async def provisioned(bus: Bus) -> None:
    """Provision; the server may still be deleting the files of a stream that had the same name."""
    async with asyncio.timeout(60):
        while True:
            try:
                await provision(bus, ack_wait=ACK_WAIT)
            except Refused as refused:
                if refused.code != STORE_IS_BUSY:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


@pytest.fixture
async def nats_server() -> AsyncIterator[Server]:
    """A server of the test's own, to kill and to start again; nothing is provisioned."""
    async with embedded() as server:
        yield server

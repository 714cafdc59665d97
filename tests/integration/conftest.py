"""The server of the tests of security."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runmesh.embedded import Server
from tests.integration.nats_users import provisioned, set_passwords


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server with the generated users, and a mesh on it."""
    set_passwords(monkeypatch)
    (tmp_path / "nats").mkdir()
    async with provisioned(tmp_path / "nats") as running:
        yield running

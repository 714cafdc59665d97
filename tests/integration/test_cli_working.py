"""An executor service goes on with a new worker when its worker has lost the lease."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from runmesh import executor, subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cli.working import Working
from runmesh.embedded import Server
from runmesh.errors import Invalid
from runmesh.settings import Settings
from tests.eventually import eventually

LEASE = 2.0


def service(bus: Bus, settings: Settings) -> Working:
    """An executor service of local processes that is about to run."""
    backend = executor.load("local_python")
    assert backend
    return Working(bus, settings, "local_python", backend)


@pytest.fixture
async def beside(nats_server: Server) -> AsyncIterator[Bus]:
    """A mesh on a server that the test may kill."""
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=LEASE)
        yield bus


async def cut_off(bus: Bus, server: Server, state_dir: Path) -> str:
    """Kill the server, and return who was the worker that has given up since."""
    [first] = await eventually(lambda: workers(bus))
    await server.kill()
    await eventually(lambda: not (state_dir / "workers" / first).exists())
    return first


async def workers(bus: Bus) -> list[str]:
    return [subjects.worker_address(key).worker for key in await bus.bucket(subjects.WORKERS).keys()]


async def test_a_worker_that_was_cut_off_is_followed_by_one_with_a_fresh_id(
    nats_server: Server, beside: Bus, tmp_path: Path
) -> None:
    working = service(beside, Settings(ack_wait=LEASE, state_dir=tmp_path, grace=0))
    running = asyncio.create_task(working.run())
    with capture_logs() as lines:
        first = await cut_off(beside, nats_server, tmp_path)
        await eventually(lambda: working.troubles() == ["there is no worker with a lease"])
    assert next(line["pause"] for line in lines if line["event"] == "lease lost") == 0.5
    await nats_server.start()
    second = await eventually(lambda: workers_without(beside, first))
    assert len(second) == 1
    await eventually(lambda: working.troubles() == [])
    working.drain()
    await running
    assert list((tmp_path / "workers").iterdir()) == []


async def workers_without(bus: Bus, gone: str) -> list[str]:
    return [] if gone in (found := await workers(bus)) else found


async def test_a_worker_is_not_ready_before_its_first_beat(nats_server: Server, beside: Bus, tmp_path: Path) -> None:
    await nats_server.kill()
    working = service(beside, Settings(state_dir=tmp_path, grace=0))
    running = asyncio.create_task(working.run())
    await eventually((tmp_path / "workers").exists)
    for _ in range(50):
        assert working.troubles() == ["there is no worker with a lease"]
        await asyncio.sleep(0.01)
    await nats_server.start()
    await eventually(lambda: working.troubles() == [])
    working.drain()
    await running


async def test_draining_while_the_next_worker_is_waited_for_ends_the_service(
    nats_server: Server, beside: Bus, tmp_path: Path
) -> None:
    working = service(beside, Settings(ack_wait=LEASE, state_dir=tmp_path, grace=0))
    running = asyncio.create_task(working.run())
    await cut_off(beside, nats_server, tmp_path)
    working.drain()
    async with asyncio.timeout(60):
        await running


async def test_draining_before_the_first_worker_is_there_ends_the_service(bus: Bus, tmp_path: Path) -> None:
    working = service(bus, Settings(state_dir=tmp_path, grace=0))
    running = asyncio.create_task(working.run())
    await eventually((tmp_path / "workers").exists, every=0)
    working.drain()
    async with asyncio.timeout(60):
        await running


async def test_a_place_where_nothing_can_be_written_is_the_settings_mistake(bus: Bus) -> None:
    working = service(bus, Settings(state_dir=Path("/proc/runmesh")))
    with pytest.raises(
        Invalid, match="RUNMESH_STATE_DIR: should be a folder to write to, not '/proc/runmesh': No such"
    ):
        await working.run()

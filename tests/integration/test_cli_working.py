"""An executor service goes on with a new worker when its worker has lost the lease."""

import asyncio
from pathlib import Path

from runmesh import executor, subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cli.working import Working
from runmesh.embedded import Server
from runmesh.settings import Settings
from tests.eventually import eventually

LEASE = 1.0


async def workers(bus: Bus) -> list[str]:
    return [subjects.worker_address(key).worker for key in await bus.bucket(subjects.WORKERS).keys()]


async def test_a_worker_that_was_cut_off_is_followed_by_one_with_a_fresh_id(
    nats_server: Server, tmp_path: Path
) -> None:
    backend = executor.load("local_python")
    assert backend
    settings = Settings(ack_wait=LEASE, state_dir=tmp_path, grace=0)
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=LEASE)
        working = Working(bus, settings, "local_python", backend)
        running = asyncio.create_task(working.run())
        [first] = await eventually(lambda: workers(bus))
        await nats_server.kill()
        await eventually(lambda: not (tmp_path / "workers" / first).exists())
        await nats_server.start()
        second = await eventually(lambda: workers_without(bus, first))
        assert len(second) == 1
        working.drain()
        await running
    assert list((tmp_path / "workers").iterdir()) == []


async def workers_without(bus: Bus, gone: str) -> list[str]:
    return [] if gone in (found := await workers(bus)) else found


async def test_draining_while_the_next_worker_is_waited_for_ends_the_service(
    nats_server: Server, tmp_path: Path
) -> None:
    backend = executor.load("local_python")
    assert backend
    settings = Settings(ack_wait=LEASE, state_dir=tmp_path, grace=0)
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=LEASE)
        working = Working(bus, settings, "local_python", backend)
        running = asyncio.create_task(working.run())
        [first] = await eventually(lambda: workers(bus))
        await nats_server.kill()
        await eventually(lambda: not (tmp_path / "workers" / first).exists())
        working.drain()
        async with asyncio.timeout(30):
            await running


async def test_draining_before_the_first_worker_is_there_ends_the_service(bus: Bus, tmp_path: Path) -> None:
    backend = executor.load("local_python")
    assert backend
    working = Working(bus, Settings(state_dir=tmp_path, grace=0), "local_python", backend)
    running = asyncio.create_task(working.run())
    await eventually((tmp_path / "workers").exists, every=0)
    working.drain()
    async with asyncio.timeout(30):
        await running

"""A worker that can't confirm that it is alive behaves as if it were dead."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.errors import NotProvisioned
from runmesh.settings import Settings
from runmesh.worker import LeaseLost, Worker
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Config, Fault, LocalExecutor, Platform, Script, ScriptedExecutor
from tests.integration.worker_mesh import POOL, TYPE, Mesh, mesh_on


def worker_on(bus: Bus, executor: ScriptedExecutor, worker_id: str = "worker-0") -> Worker:
    settings = Settings(ack_wait=ACK_WAIT)
    return Worker(bus, executor, executor_type=TYPE, config_model=Config, settings=settings, worker_id=worker_id)


async def test_a_worker_without_nats_drops_everything_and_its_local_jobs_die(nats_server: Server) -> None:
    platform = Platform(load=Script(runs=None))
    address = Address(nats_server.url, nats_server.token)
    async with connect(address.url, name="test", token=address.token) as bus:
        await provision(bus, ack_wait=ACK_WAIT)
        async with mesh_on(bus, address) as mesh:
            process = await mesh.start(platform, LocalExecutor)
            event = await mesh.order("load")
            await mesh.submitted(event)
            await nats_server.kill()
            with pytest.raises(LeaseLost):
                await process.task
            assert not platform.alive
            await nats_server.start()
            platform.scripts["load"] = Script()
            await mesh.start(platform, LocalExecutor)
            fact = await mesh.ended(event)
            assert (fact.cause, fact.epoch) == ("lost", 1)


async def test_a_short_absence_of_nats_interrupts_nothing(nats_server: Server) -> None:
    platform = Platform(load=Script(runs=2.0))
    address = Address(nats_server.url, nats_server.token)
    async with connect(address.url, name="test", token=address.token) as bus:
        await provision(bus, ack_wait=60.0)
        async with mesh_on(bus, address) as mesh:
            await mesh.start(platform, ack_wait=60.0)
            event = await mesh.order("load")
            await mesh.submitted(event)
            await nats_server.kill()
            await nats_server.start()
            fact = await mesh.ended(event)
            assert (fact.state, fact.epoch) == ("completed", 0)
            assert platform.started[event.key] == 1
            await mesh.settled()


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_a_worker_whose_record_cant_be_written_stops_before_others_take_over(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    process = await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.bus.api(f"STREAM.DELETE.KV_{subjects.WORKERS}")
    with pytest.raises((LeaseLost, NotProvisioned)):
        await asyncio.wait_for(process.task, 60)
    claim = await mesh.claim(event)
    assert claim
    assert (claim.owner, claim.phase, claim.epoch) == (process.worker_id, "submitted", 0)
    assert len(platform.alive) == 1


async def test_a_worker_that_was_frozen_beyond_its_lease_does_nothing_when_it_wakes(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit=(Fault.REFUSED,), retry_after=1.0), report=Script(runs=1.0))
    process = await mesh.start(platform)
    report = await mesh.order("report")

    async def runs() -> bool:
        return await mesh.states(report) == ["submitted", "running"]

    await eventually(runs)
    load = await mesh.order("load")

    async def waits() -> bool:
        claim = await mesh.claim(load)
        return claim is not None and claim.phase == "claimed" and platform.calls["submit"] > 1

    await eventually(waits)
    before = await mesh.claim(load), await mesh.claim(report)
    calls = dict(platform.calls)
    time.sleep(ACK_WAIT)  # noqa: ASYNC251 - the whole process stands still, as with SIGSTOP

    with pytest.raises(LeaseLost):
        await process.task

    assert dict(platform.calls) == calls
    assert (await mesh.claim(load), await mesh.claim(report)) == before
    assert await mesh.states(report) == ["submitted", "running"]


async def test_a_missing_consumer_is_fatal_and_says_so(bus: Bus) -> None:
    await bus.api(f"CONSUMER.DELETE.{subjects.execute_stream(TYPE)}.{subjects.execute_consumer(POOL)}")
    with pytest.raises(NotProvisioned):
        await asyncio.wait_for(worker_on(bus, ScriptedExecutor(Platform())).run(), 60)


async def test_a_lost_worker_id_is_free_after_its_lease(mesh: Mesh) -> None:
    process = await mesh.start(Platform())
    await process.kill()

    async def vanished() -> bool:
        return await mesh.record(process.worker_id) is None

    await eventually(vanished)

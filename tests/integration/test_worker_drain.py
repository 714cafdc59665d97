"""A worker that is asked to stop: remote jobs go on under the next one, local ones end or are handed back."""

from collections.abc import AsyncIterator

import pytest

from runmesh.bus import Bus
from runmesh.events import Cause
from runmesh.executor import Observation, Phase
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, LocalExecutor, Platform, Script
from tests.integration.worker_mesh import Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_remote_jobs_are_handed_over_without_noticing(mesh: Mesh) -> None:
    blocks = {f"b{number}": Script(runs=None) for number in range(20)}
    platform = Platform(**blocks)
    first = await mesh.start(platform)
    events = [await mesh.order(block) for block in blocks]
    await eventually(lambda: len(platform.alive) == 20)
    await mesh.start(platform)
    await first.drain()
    assert await mesh.record(first.worker_id) is None
    for job in platform.alive:
        job.end(Observation(Phase.SUCCEEDED, 0))

    facts = [await mesh.ended(event) for event in events]

    assert {fact.state for fact in facts} == {"completed"}
    assert {fact.worker for fact in facts} == {"worker-1"}
    assert set(platform.started.values()) == {1}
    assert platform.cancelled == []


async def test_a_submit_in_flight_ends_before_its_job_is_handed_over(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, submit_takes=0.25))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    await platform.submitting.wait()
    await first.drain()
    claim = await mesh.claim(event)
    assert claim
    assert (claim.phase, claim.handle) == ("released", platform.job("load").handle)
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))
    await mesh.start(platform)
    assert (await mesh.ended(event)).state == "completed"
    assert platform.calls["submit"] == 1


async def test_a_task_that_waits_for_its_platform_is_handed_over_as_if_never_claimed(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit=(Fault.REFUSED,), retry_after=3600.0))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    await platform.submitting.wait()
    await first.drain()
    assert await mesh.claim(event) is None
    await mesh.start(platform)
    fact = await mesh.ended(event)
    assert (fact.state, fact.epoch) == ("completed", 0)


async def test_a_stop_in_progress_is_handed_over_too(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, cancel_takes=None))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.cancel()
    await eventually(lambda: platform.cancelled)
    await first.drain()
    platform.job("load").end(Observation(Phase.FAILED, 143, Cause.CANCELLED))
    await mesh.start(platform)
    fact = await mesh.ended(event)
    assert (fact.state, fact.worker) == ("cancelled", "worker-1")


async def test_a_local_job_that_ends_within_the_grace_period_completes(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.5))
    process = await mesh.start(platform, LocalExecutor, grace=10.0)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await process.drain()
    assert (await mesh.ended(event)).state == "completed"


async def test_a_local_job_that_does_not_is_stopped_and_handed_back(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, cancel_takes=0.1))
    process = await mesh.start(platform, LocalExecutor, grace=0.2)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await process.drain()
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause, fact.handed_back) == ("failed", Cause.INFRASTRUCTURE, True)
    assert not platform.alive
    await mesh.settled()


async def test_a_draining_worker_pulls_nothing_more(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.5))
    process = await mesh.start(platform, LocalExecutor, grace=10.0)
    load = await mesh.order("load")
    await mesh.submitted(load)
    process.worker.drain()

    async def says_so() -> bool:
        record = await mesh.record(process.worker_id)
        return record is None or record["state"] == "draining"

    await eventually(says_so)
    late = await mesh.order("report")
    await process.task
    assert await mesh.claim(late) is None


async def test_a_draining_worker_is_known_until_its_local_jobs_are_gone(mesh: Mesh) -> None:
    known = []

    class Leaving(LocalExecutor):
        async def __aexit__(self, *exc_info: object) -> None:
            known.append(await mesh.record("worker-0"))
            await super().__aexit__(*exc_info)

    process = await mesh.start(Platform(), Leaving)
    await process.drain()
    assert known != [None], "others would take over what may still run"
    assert await mesh.record(process.worker_id) is None


async def test_an_idle_worker_drains_at_once(mesh: Mesh) -> None:
    process = await mesh.start(Platform())
    await process.drain()
    assert await mesh.record(process.worker_id) is None

"""Cancelled and timed out mean that the job is gone, or the fact says that this could not be confirmed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runmesh.bus import Bus
from runmesh.claims import Claim, Stopping
from runmesh.events import Cause
from runmesh.executor import Handle, Observation, Phase, Task
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, LocalExecutor, Platform, Script, ScriptedExecutor
from tests.integration.worker_mesh import Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_running_job_is_gone_before_its_task_is_cancelled(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, cancel_takes=0.5))
    await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.cancel()
    await eventually(lambda: platform.cancelled)
    claim = await mesh.claim(event)
    assert claim
    assert claim.stopping
    assert claim.stopping.cause is Cause.CANCELLED

    fact = await mesh.ended(event)

    assert (fact.state, fact.cause, fact.reason, fact.unconfirmed) == ("cancelled", Cause.CANCELLED, "asked", None)
    assert platform.job("load").ended.is_set()
    await mesh.settled()


async def test_a_timeout_that_its_owner_began_is_reported_by_the_next_one(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, cancel_takes=None))
    first = await mesh.start(platform)
    event = await mesh.order("load", timeout=0.3)
    await eventually(lambda: platform.cancelled)
    await first.kill()
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))
    await mesh.start(platform)
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause, fact.epoch) == ("failed", Cause.TIMEOUT, 1)


async def test_only_the_named_tasks_stop(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None), report=Script(runs=None))
    await mesh.start(platform)
    load, report = await mesh.order("load"), await mesh.order("report")
    await mesh.submitted(load)
    await mesh.submitted(report)
    await mesh.cancel(load.key)
    assert (await mesh.ended(load)).state == "cancelled"
    assert [job.key for job in platform.alive] == [report.key]


async def test_a_cancel_before_the_claim_starts_nothing(mesh: Mesh) -> None:
    platform = Platform()
    await mesh.cancel()
    event = await mesh.order("load")
    await mesh.start(platform)
    assert (await mesh.ended(event)).state == "cancelled"
    assert not platform.jobs
    await mesh.settled()


async def test_a_cancel_during_the_submit_stops_what_was_started(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, submit_takes=0.25))
    await mesh.start(platform)
    event = await mesh.order("load")
    await platform.submitting.wait()
    await mesh.cancel()
    assert (await mesh.ended(event)).state == "cancelled"
    assert platform.started[event.key] == 1
    assert not platform.alive


async def test_a_cancel_while_the_platform_refuses_starts_nothing(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit=(Fault.REFUSED,), retry_after=3600.0))
    await mesh.start(platform)
    event = await mesh.order("load")
    await platform.submitting.wait()
    await mesh.cancel()
    assert (await mesh.ended(event)).state == "cancelled"
    assert not platform.jobs


async def test_a_cancel_between_submit_and_record_finds_the_job_and_stops_it(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=now()).submitting(now()))
    await mesh.cancel()
    await mesh.start(platform)
    platform.start(event, platform.scripts["load"])
    await mesh.order("load")
    assert (await mesh.ended(event)).state == "cancelled"
    assert not platform.alive
    assert platform.started[event.key] == 1


async def test_a_cancel_while_no_worker_lives_stops_the_job_of_the_dead_one(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await first.kill()
    await mesh.cancel()
    await mesh.start(platform)
    assert (await mesh.ended(event)).state == "cancelled"
    assert not platform.alive


async def test_a_task_of_a_run_that_is_no_more_is_cancelled(mesh: Mesh) -> None:
    platform = Platform()
    await mesh.start(platform)
    event = await mesh.order("load", run="swept", known=False)
    fact = await mesh.ended(event)
    assert (fact.state, fact.reason) == ("cancelled", "there is no run swept")
    assert not platform.jobs


async def test_a_job_over_its_timeout_is_stopped(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, cancel_takes=0.1))
    await mesh.start(platform)
    event = await mesh.order("load", timeout=0.5)
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause, fact.reason) == ("failed", Cause.TIMEOUT, "ran longer than 0.5 s")
    assert not platform.alive


async def test_an_adopter_counts_the_timeout_from_the_real_start(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    event = mesh.command("load")
    handle = platform.start(event, platform.scripts["load"])
    long_ago = now() - timedelta(hours=1)
    claim = Claim(owner="dead", claimed_at=long_ago).submitting(long_ago).submitted(handle, long_ago)
    await mesh.write_claim(event, claim.running(long_ago))
    await mesh.start(platform)
    await mesh.order("load", timeout=1800.0)
    assert (await mesh.ended(event)).cause is Cause.TIMEOUT


async def test_a_job_that_is_not_started_in_time_is_stopped_and_had_no_capacity(mesh: Mesh) -> None:
    platform = Platform(load=Script(pending=3600.0))
    await mesh.start(platform)
    event = await mesh.order("load", start_timeout=0.5)
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause) == ("failed", Cause.CAPACITY)
    assert not platform.alive


class WithoutImage(ScriptedExecutor):
    """A platform that says at once why a job doesn't start."""

    async def submit(self, task: Task[Any]) -> Handle:
        handle = await super().submit(task)
        why = Observation(Phase.PENDING, cause=Cause.CONFIG, reason="ErrImagePull: x not found")
        self.platform.jobs[handle].seen = why
        return handle


async def test_why_a_job_did_not_start_is_the_platforms_word(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(pending=3600.0)), WithoutImage)
    fact = await mesh.ended(await mesh.order("load", start_timeout=1.0))
    assert (fact.state, fact.cause) == ("failed", Cause.CONFIG)
    assert fact.reason == "not started within 1 s: ErrImagePull: x not found"


async def test_a_stop_that_cant_be_confirmed_says_so_and_is_left_to_the_reaper(mesh: Mesh) -> None:
    platform = Platform(cancelled=Script(runs=None, cancel_takes=None), late=Script(runs=None, cancel_takes=None))
    await mesh.start(platform, cancel_timeout=0.5)
    cancelled, late = await mesh.order("cancelled"), await mesh.order("late", timeout=0.2)
    await mesh.submitted(cancelled)
    await mesh.cancel(cancelled.key)

    fact = await mesh.ended(cancelled)
    assert (fact.state, fact.cause, fact.unconfirmed) == ("cancelled", Cause.CANCELLED, True)
    fact = await mesh.ended(late)
    assert (fact.state, fact.cause, fact.unconfirmed) == ("failed", Cause.UNVERIFIED, True)
    assert fact.reason
    assert fact.reason.startswith("timeout: ran longer than 0.2 s")
    await eventually(lambda: all(job.removed for job in platform.jobs.values()))


async def test_a_stop_that_its_owner_did_not_live_to_see_is_seen_through(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    event = mesh.command("load")
    handle = platform.start(event, platform.scripts["load"])
    claim = Claim(owner="dead", claimed_at=now()).submitting(now()).submitted(handle, now())
    await mesh.write_claim(event, claim.stop(Stopping(cause=Cause.TIMEOUT, reason="ran too long", at=now())))
    await mesh.start(platform)
    await mesh.order("load")
    fact = await mesh.ended(event)
    assert (fact.cause, fact.reason) == (Cause.TIMEOUT, "ran too long")
    assert not platform.alive


async def test_a_local_job_whose_owner_died_while_stopping_it_is_gone_for_the_cause_it_was_stopped(mesh: Mesh) -> None:
    event = mesh.command("load")
    claim = Claim(owner="dead", claimed_at=now()).submitting(now()).submitted(Handle("theirs"), now())
    await mesh.write_claim(event, claim.stop(Stopping(cause=Cause.CANCELLED, reason="asked", at=now())))
    await mesh.start(Platform(), LocalExecutor)
    await mesh.order("load")
    assert (await mesh.ended(event)).state == "cancelled"


async def test_a_job_whose_configuration_an_adopter_cant_read_is_stopped(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    event = mesh.command("load", config={"nonsense": 1})
    handle = platform.start(event, platform.scripts["load"])
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=now()).submitting(now()).submitted(handle, now()))
    await mesh.start(platform)
    await mesh.order("load", config={"nonsense": 1})
    assert (await mesh.ended(event)).cause is Cause.CONFIG
    assert not platform.alive


async def test_an_end_that_was_seen_first_is_the_result(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.0))
    await mesh.start(platform)
    event = await mesh.order("load")
    fact = await mesh.ended(event)
    await mesh.cancel()
    await mesh.settled()
    assert fact.state == "completed"
    assert platform.cancelled == []
    assert await mesh.ended(event) == fact

"""A job that its platform no longer knows, and jobs that nobody answers for."""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.bus import Bus
from runmesh.claims import Claim, Stopping
from runmesh.events import Cause, TaskState
from runmesh.executor import GONE, Handle, Observation, Phase, Task
from tests import facts
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script, ScriptedExecutor
from tests.integration.worker_mesh import Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_a_deleted_job_is_lost_after_the_window_after_find_and_without_an_outcome(
    mesh: Mesh, tmp_path: Path
) -> None:
    platform = Platform(load=Script(runs=None))
    await mesh.start(platform)
    event = await mesh.order("load", environment={"RUNMESH_OUTCOME": str(tmp_path / "none.json")})
    await mesh.submitted(event)
    platform.forget(platform.job("load"))
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause) == ("failed", Cause.LOST)
    assert platform.calls["find"] == 1
    assert platform.started[event.key] == 1


@pytest.mark.parametrize(
    ("outcome", "state", "cause"),
    [('{"exit_code": 0}', "completed", None), ('{"exit_code": 1}', "failed", Cause.USER)],
)
async def test_a_deleted_job_that_left_an_outcome_is_not_lost(
    mesh: Mesh, tmp_path: Path, outcome: str, state: str, cause: Cause | None
) -> None:
    (tmp_path / "left.json").write_text(outcome)
    platform = Platform(load=Script(runs=None))
    await mesh.start(platform)
    event = await mesh.order("load", environment={"RUNMESH_OUTCOME": str(tmp_path / "left.json")})
    await mesh.submitted(event)
    platform.forget(platform.job("load"))
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause) == (state, cause)


class Forgetful(ScriptedExecutor):
    """Eventually consistent: a new job is GONE for a moment, or for good under its first address."""

    gone_window: ClassVar[float] = 60.0

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        seen = await super().observe(handles)
        return seen if self.platform.calls["observe"] > 3 else dict.fromkeys(handles, GONE)


async def test_a_job_that_is_gone_for_a_moment_only_is_kept(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.5))
    await mesh.start(platform, Forgetful)
    event = await mesh.order("load")
    assert (await mesh.ended(event)).state == "completed"
    assert platform.calls["find"] == 0


class Moving(ScriptedExecutor):
    """Knows every job under a second address only, after its submit."""

    async def submit(self, task: Task[Any]) -> Handle:
        return Handle(f"{await super().submit(task)}#old")


async def test_a_job_that_find_knows_under_another_address_is_followed_there(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=1.0))
    await mesh.start(platform, Moving)
    event = await mesh.order("load")
    fact = await mesh.ended(event)
    assert (fact.state, fact.handle) == ("completed", platform.job("load").handle)
    assert platform.started[event.key] == 1


class Mute(ScriptedExecutor):
    """`find` answers the third time."""

    async def find(self, task: Task[Any]) -> Handle | None:
        found = await super().find(task)
        if self.platform.calls["find"] < 3:
            raise ConnectionError("no answer")
        return found


async def test_a_job_is_not_lost_before_find_has_answered(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    await mesh.start(platform, Mute)
    event = await mesh.order("load")
    await mesh.submitted(event)
    platform.forget(platform.job("load"))
    assert (await mesh.ended(event)).cause is Cause.LOST
    assert platform.calls["find"] == 3


async def test_the_reaper_removes_what_nobody_answers_for_and_nothing_else(mesh: Mesh) -> None:
    platform = Platform(held=Script(runs=None), orphan=Script(runs=None))
    orphan = mesh.command("orphan")
    platform.start(orphan, platform.scripts["orphan"])
    await mesh.start(platform)
    held = await mesh.order("held")
    await mesh.submitted(held)
    await eventually(lambda: platform.job("orphan").removed)
    assert platform.job("orphan").ended.is_set()
    assert [job.key for job in platform.alive] == [held.key]


class Listing(ScriptedExecutor):
    """Counts how often the reaper came by."""

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        self.platform.calls["jobs"] += 1
        async for found in super().jobs():
            yield found


async def test_the_reaper_leaves_whoever_just_ended_a_task_the_time_to_remove_its_job(mesh: Mesh) -> None:
    platform = Platform()
    platform.start(mesh.command("orphan"), Script(runs=None))
    await mesh.start(platform, Listing)
    await eventually(lambda: platform.job("orphan").removed)
    assert platform.calls["jobs"] == 2


class Stubborn(ScriptedExecutor):
    """One job can't be told to stop."""

    async def cancel(self, handle: Handle) -> None:
        if "stubborn" in handle:
            raise ConnectionError("no answer")
        await super().cancel(handle)


async def test_a_job_that_cant_be_removed_does_not_keep_the_reaper_from_others(mesh: Mesh) -> None:
    platform = Platform()
    for block in ("stubborn", "orphan"):
        platform.start(mesh.command(block), Script(runs=None))
    await mesh.start(platform, Stubborn)
    await eventually(lambda: platform.job("orphan").removed)
    assert not platform.job("stubborn").removed


@pytest.mark.parametrize(
    ("seen", "state", "cause"),
    [
        (Observation(Phase.SUCCEEDED, 0), "completed", None),
        (Observation(Phase.FAILED, 143, Cause.CANCELLED), "failed", Cause.TIMEOUT),
    ],
)
async def test_the_end_of_a_job_that_could_not_be_confirmed_is_told_late(
    mesh: Mesh, seen: Observation, state: str, cause: Cause | None
) -> None:
    platform, event, now = Platform(), mesh.command("load"), datetime.now(UTC)
    handle = platform.start(event, Script(runs=None))
    told = facts.task_fact("load", "failed", n=2, run=event.run, executor_type="k8s", cause="unverified")
    told = told.model_copy(update={"unconfirmed": True})
    claim = Claim(owner="dead", claimed_at=now).submitting(now).submitted(handle, now)
    claim = claim.stop(Stopping(cause=Cause.TIMEOUT, reason="ran too long", at=now)).finished(told)
    await mesh.write_claim(event, claim)
    await facts.publish(mesh.bus, told)
    platform.job("load").end(seen)

    await mesh.start(platform)
    await eventually(lambda: platform.job("load").removed)

    first, late = await mesh.facts(event)
    assert first == told
    assert (late.state, late.cause, late.exit_code, late.n) == (TaskState(state), cause, seen.exit_code, 3)
    assert (late.late, late.unconfirmed, late.handle) == (True, None, handle)
    assert await mesh.claim(event) == claim

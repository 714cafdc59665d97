"""A task's life in one worker, when nothing goes wrong, and when the task itself does."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.claims import ClaimPhase
from runmesh.events import Cause, LogLines
from runmesh.executor import Handle, Observation, Phase
from runmesh.worker.lease import SHARE
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, LocalExecutor, Platform, Script, ScriptedExecutor, ToldExecutor
from tests.integration.worker_mesh import Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_a_task_is_submitted_runs_completes_and_leaves_nothing_behind(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.5))
    await mesh.start(platform)
    event = await mesh.order("load")

    fact = await mesh.ended(event)

    assert (fact.state, fact.exit_code, fact.cause, fact.worker, fact.epoch) == ("completed", 0, None, "worker-0", 0)
    assert [(f.state, f.n) for f in await mesh.facts(event)] == [("submitted", 1), ("running", 2), ("completed", 3)]
    await mesh.settled()
    assert platform.jobs
    assert all(job.removed for job in platform.jobs.values())
    claim = await mesh.claim(event)
    assert claim
    assert claim.phase is ClaimPhase.TERMINAL
    assert claim.fact == fact


async def test_a_failed_task_says_why(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(exit_code=3)))
    fact = await mesh.ended(await mesh.order("load"))
    assert (fact.state, fact.cause, fact.exit_code, fact.reason) == ("failed", Cause.USER, 3, "exit code 3")


async def test_a_specification_that_the_platform_refuses_is_final(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(submit=(Fault.REJECTED,))))
    fact = await mesh.ended(await mesh.order("load"))
    assert (fact.state, fact.cause, fact.reason) == ("failed", Cause.CONFIG, "no such image")
    await mesh.settled()


async def test_a_wrong_configuration_is_final_and_names_every_problem(mesh: Mesh) -> None:
    platform = Platform()
    await mesh.start(platform)
    fact = await mesh.ended(await mesh.order("load", config={"sise": 3, "start_timeout": "soon"}))
    assert (fact.state, fact.cause) == ("failed", Cause.CONFIG)
    assert fact.reason
    assert "config.sise" in fact.reason
    assert "'size'" in fact.reason
    assert "config.start_timeout" in fact.reason
    assert not platform.jobs


async def test_the_trace_of_the_command_is_carried_to_its_facts(mesh: Mesh) -> None:
    await mesh.start(Platform())
    event = await mesh.order("other")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = mesh.command("load")
    await mesh.publish(traced, traceparent=trace)
    await mesh.ended(event)
    await mesh.ended(traced)
    stored = [message async for message in mesh.bus.replay(subjects.FACTS, "mesh.task.completed.>")]
    assert {message.subject.rsplit(".", 1)[1]: message.headers.get("traceparent") for message in stored} == {
        "other": None,
        "load": trace,
    }


async def test_the_outcome_that_the_job_left_is_part_of_the_terminal_fact(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "left.json").write_text('{"exit_code": 0, "outputs": []}')
    await mesh.start(Platform())
    left = await mesh.order("load", environment={"RUNMESH_OUTCOME": str(tmp_path / "left.json")})
    none = await mesh.order("report", environment={"RUNMESH_OUTCOME": str(tmp_path / "none.json")})
    assert (await mesh.ended(left)).outcome == {"exit_code": 0, "outputs": []}
    assert (await mesh.ended(none)).outcome is None


class Unhurried(ToldExecutor):
    poll_interval: ClassVar[float] = 3600.0


async def test_an_executor_that_tells_of_changes_is_observed_at_once(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(runs=0.2)), Unhurried)
    event = await mesh.order("load")
    await mesh.ended(event)
    assert await mesh.states(event) == ["submitted", "running", "completed"]


async def test_all_that_a_job_prints_is_stored_in_order_before_its_terminal_fact(mesh: Mesh) -> None:
    lines = tuple(f"line {number}" for number in range(1, 2001))
    await mesh.start(Platform(load=Script(prints=lines, runs=0.1)), ToldExecutor)
    event = await mesh.order("load")
    await mesh.ended(event)
    stored = [message async for message in mesh.bus.replay(subjects.LOGS, "mesh.log.>")]
    batches = [LogLines.model_validate_json(message.data) for message in stored]
    assert tuple(line for batch in batches for line in batch.lines) == lines
    assert [batch.first for batch in batches] == [1, 501, 1001, 1501]


async def test_the_last_lines_are_stored_before_the_terminal_fact(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(prints=("one", "two"))), ToldExecutor)
    await mesh.ended(await mesh.order("load"))
    (lines,) = [message async for message in mesh.bus.replay(subjects.LOGS, "mesh.log.>")]
    (told,) = [message async for message in mesh.bus.replay(subjects.FACTS, "mesh.task.completed.>")]
    assert lines.at < told.at


async def test_an_adopter_goes_on_where_the_log_of_the_dead_owner_ends(mesh: Mesh) -> None:
    lines = tuple(f"line {number}" for number in range(1, 11))
    platform = Platform(load=Script(prints=lines[:5], runs=None))
    first = await mesh.start(platform, ToldExecutor)
    event = await mesh.order("load")

    async def stored() -> list[str]:
        messages = [message async for message in mesh.bus.replay(subjects.LOGS, "mesh.log.>")]
        return [line for message in messages for line in LogLines.model_validate_json(message.data).lines]

    await eventually(stored)
    await first.kill()
    job = platform.job("load")
    job.script = Script(prints=lines)
    await mesh.start(platform, ToldExecutor)

    async def adopted() -> bool:
        claim = await mesh.claim(event)
        return claim is not None and claim.owner == "worker-1"

    await eventually(adopted)
    job.end(Observation(Phase.SUCCEEDED, 0))
    await mesh.ended(event)
    assert tuple(await stored()) == lines


class Broken(ScriptedExecutor):
    """Answers nonsense for a while."""

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        seen = await super().observe(handles)
        return seen if self.platform.calls["observe"] > 3 else cast("Mapping[Handle, Observation]", None)


async def test_an_executor_that_answers_nonsense_does_not_end_its_worker(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script()), Broken)
    assert (await mesh.ended(await mesh.order("load"))).state == "completed"


async def test_a_platform_that_does_not_answer_ends_nothing(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.1))
    platform.silent = True
    await mesh.start(platform)
    event = await mesh.order("load")
    await eventually(lambda: platform.calls["observe"] > 10)
    assert await mesh.states(event) == ["submitted"]
    platform.silent = False
    assert (await mesh.ended(event)).state == "completed"


async def test_held_jobs_of_a_remote_platform_take_no_slot(mesh: Mesh) -> None:
    platform = Platform(**{f"b{number}": Script(runs=None) for number in range(10)})
    await mesh.start(platform, slots=2)
    for number in range(10):
        await mesh.order(f"b{number}")
    await eventually(lambda: len(platform.alive) == 10)


async def test_jobs_that_live_in_their_worker_never_exceed_its_slots(mesh: Mesh) -> None:
    held = {"b0": Script(runs=None), "b1": Script(runs=None)}
    platform = Platform(**held, **{f"b{number}": Script(runs=0.05) for number in range(2, 12)})
    process = await mesh.start(platform, LocalExecutor, slots=2)
    events = [await mesh.order(f"b{number}") for number in range(12)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(platform.alive))
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    await eventually(lambda: most == len(held))
    for block in held:
        platform.job(block).end(Observation(Phase.SUCCEEDED, 0))
        platform.tell(platform.job(block))
    for event in events:
        await mesh.ended(event)
    watching.cancel()
    assert most == 2
    assert isinstance(process.executor, LocalExecutor)
    assert all(0 < lease <= SHARE * ACK_WAIT for lease in process.executor.leases)


async def test_a_worker_says_what_it_is_and_what_it_holds(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(runs=None)), ToldExecutor, slots=3)
    await mesh.order("load")

    async def busy() -> bool:
        record = await mesh.record("worker-0")
        return bool(record and record["held"] == 1)

    await eventually(busy)
    record = await mesh.record("worker-0")
    assert record
    assert (record["slots"], record["state"], record["capabilities"]) == (3, "working", ["logs", "changes"])

"""What no kill shows: processes that stand still or are cut off, copies, stale words, cancels in every gap."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runmesh import subjects
from runmesh.claims import Claim
from runmesh.cloudevents import headers_for
from runmesh.events import ExecuteTask, RunFact, TaskFact
from tests.chaos.audit import audit, ended, facts_of, leftovers
from tests.chaos.legal import Fact
from tests.chaos.matrix import LONG
from tests.chaos.mesh import LEASE, ChaosMesh, chaos_mesh, working
from tests.chaos.points import Act, Point, Rule
from tests.chaos.proxy import line_to
from tests.chaos.service import REMOTE
from tests.eventually import eventually
from tests.shop import ask, commands

WITHIN = 60.0
KINDS = pytest.mark.parametrize("kind", ["local_python", REMOTE])
SOME_KINDS = pytest.mark.parametrize("kind", ["local_python", REMOTE] if LONG else [REMOTE])
"""Where the executor matters least, the short run takes one."""


@asynccontextmanager
async def mesh_in(directory: Path, **settings: Any) -> AsyncIterator[ChaosMesh]:
    """A mesh with a pipeline for each gap, and no service yet."""
    async with chaos_mesh(directory, **settings) as mesh:
        script = mesh.folder.script
        until_let_go = (
            f'until [ -e "{mesh.folder.path}/go" ]; do echo $$ >> "{mesh.folder.path}/beats"; sleep 0.05; done'
        )
        mesh.folder.write_pipeline("short", [{"uuid": "work", "command": script("sleep 0.1")}])
        mesh.folder.write_pipeline("held", [{"uuid": "work", "command": script(until_let_go)}])
        mesh.folder.write_pipeline("endless", [{"uuid": "work", "command": script("sleep 300")}])
        retry = {"retry_config": {"retries": 3, "delay": 30, "max_delay": 30}}
        mesh.folder.write_pipeline("failing", [{"uuid": "work", "command": script("exit 1"), **retry}])
        yield mesh


def rule(run: str, point: Point, act: Act, *, before: bool = False) -> Rule:
    keys = tuple(subjects.task_key(run, "work", 1, again) for again in range(9))
    return Rule(f"{run}.rule", point, act, run, keys, before=before)


async def request(mesh: ChaosMesh, run: str, pipeline: str, kind: str) -> None:
    await ask(mesh.bus, "run", {"id": run, "pipeline": pipeline, "executor_type": kind})


async def told(mesh: ChaosMesh, run: str, state: str) -> None:
    """Wait until a state was told of a run's task."""
    subject = f"mesh.task.{state}.*.*.*.{run}.work"
    await eventually(lambda: mesh.bus.last(subjects.FACTS, subject), within=WITHIN, every=0.05)


async def hit(mesh: ChaosMesh, run: str) -> int:
    """Wait until the run's point was reached; return the process that got there."""
    pid = await eventually(lambda: mesh.rules.hit(f"{run}.rule"), within=WITHIN)
    assert pid is not None
    return pid


async def claim_of(mesh: ChaosMesh, run: str, kind: str, again: int = 0) -> Claim | None:
    key = subjects.claim(kind, "default", subjects.task_key(run, "work", 1, again))
    entry = await mesh.bus.bucket(subjects.CLAIMS).get(key)
    return Claim.decode(entry.value) if entry else None


async def well(mesh: ChaosMesh, ends: Mapping[str, str]) -> Mapping[str, list[Fact]]:
    """Wait for the end, check that nothing is lost, doubled, illegal or left, and return the facts."""
    missing = await ended(mesh, ends, within=WITHIN)
    assert not missing, f"{await facts_of(mesh)}\n{mesh.said()}"
    found = await audit(mesh, ends, within=20)
    assert not found.findings, "\n".join([*found.findings, str(dict(found.facts)), mesh.said()])
    last = {run: [fact.state for fact in found.facts[run] if isinstance(fact, RunFact)][-1] for run in ends}
    assert last == ends
    return {run: list(facts) for run, facts in found.facts.items()}


def task_states(facts: list[Fact], resubmission: int = 0) -> list[str]:
    return [str(fact.state) for fact in facts if isinstance(fact, TaskFact) and fact.resubmission == resubmission]


# --- standing still -------------------------------------------------------------------------------------


STANDS = (Point.BEFORE_SUBMIT,)
STANDS_TOO = (Point.CLAIMED, Point.OBSERVING, Point.RECORDED, Point.FINISHED_NOT_REPORTED)


@pytest.mark.parametrize("point", STANDS + STANDS_TOO if LONG else STANDS)
@KINDS
async def test_a_worker_that_wakes_after_its_lease_does_nothing_more(tmp_path: Path, kind: str, point: Point) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.rules.add(rule("zombie", point, Act.STOP))
        mesh.keep("resolver")
        mesh.keep("worker", kind)
        await working(mesh, 1, kind)
        await request(mesh, "zombie", "held" if point is Point.OBSERVING else "short", kind)
        zombie = await hit(mesh, "zombie")
        mesh.keep("worker", kind)
        await taken_over(mesh, "zombie", kind, point)
        (mesh.folder.path / "go").touch()
        await ended(mesh, ["zombie"], within=WITHIN)
        before = await everything(mesh)
        os.kill(zombie, signal.SIGCONT)
        # It has come to itself when it says so under a new name.
        await working(mesh, 2, kind)
        assert await everything(mesh) == before
        await well(mesh, {"zombie": "completed"})


async def taken_over(mesh: ChaosMesh, run: str, kind: str, point: Point) -> None:
    """Wait until another worker has the task, or has told its end."""

    async def other() -> bool:
        claim = await claim_of(mesh, run, kind)
        return claim is not None and (claim.epoch > 0 or point is Point.FINISHED_NOT_REPORTED)

    await eventually(other, within=WITHIN)


async def everything(mesh: ChaosMesh) -> object:
    """Return all that a zombie could change: facts, claims, and jobs that were ever started."""
    claims = await mesh.bus.bucket(subjects.CLAIMS).entries()
    facts = (await mesh.bus.stream_info(subjects.FACTS)).last
    return facts, sorted((entry.key, entry.revision) for entry in claims), mesh.folder.started()


async def test_a_pause_between_the_check_and_the_submit_changes_no_fact_and_leaves_no_job(tmp_path: Path) -> None:
    """No client can prevent that such a submit is still sent; by then the task is over, and its job is the reaper's."""
    async with mesh_in(tmp_path) as mesh:
        mesh.rules.add(rule("zombie", Point.SUBMITTED_NOT_RECORDED, Act.STOP, before=True))
        mesh.keep("resolver")
        mesh.keep("worker", REMOTE)
        await working(mesh, 1, REMOTE)
        await request(mesh, "zombie", "short", REMOTE)
        zombie = await hit(mesh, "zombie")
        mesh.keep("worker", REMOTE)
        await well(mesh, {"zombie": "completed"})
        told = (await mesh.bus.stream_info(subjects.FACTS)).last
        os.kill(zombie, signal.SIGCONT)
        await working(mesh, 2, REMOTE)
        assert (await mesh.bus.stream_info(subjects.FACTS)).last == told
        await eventually(lambda: _clean(mesh), within=WITHIN)


async def _clean(mesh: ChaosMesh) -> bool:
    return not await leftovers(mesh)


async def test_the_process_of_a_local_job_is_dead_when_its_task_is_taken_over(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.rules.add(rule("zombie", Point.OBSERVING, Act.STOP))
        mesh.keep("resolver")
        mesh.keep("worker", "local_python")
        await working(mesh, 1, "local_python")
        await request(mesh, "zombie", "held", "local_python")
        zombie = await hit(mesh, "zombie")
        mesh.keep("worker", "local_python")
        beats = mesh.folder.path / "beats"
        await eventually(lambda: len(set(beats.read_text().split())) == 2, within=WITHIN)
        first, second = dict.fromkeys(beats.read_text().split())
        (mesh.folder.path / "go").touch()
        await ended(mesh, ["zombie"], within=WITHIN)
        order = beats.read_text().split()
        assert order == [first] * order.count(first) + [second] * order.count(second), "both ran at the same time"
        os.kill(zombie, signal.SIGCONT)
        await well(mesh, {"zombie": "completed"})


# --- cut off --------------------------------------------------------------------------------------------


@KINDS
async def test_a_worker_that_is_cut_off_from_nats_but_not_from_its_platform_lets_go(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh, line_to(mesh.servers[0].url) as line:
        mesh.keep("resolver")
        mesh.keep("worker", kind, RUNMESH_NATS_URL=line.url)
        await working(mesh, 1, kind)
        await request(mesh, "cut", "held", kind)
        await told(mesh, "cut", "running")
        line.cut()
        mesh.keep("worker", kind)
        await taken_over(mesh, "cut", kind, Point.OBSERVING)
        (mesh.folder.path / "go").touch()
        await ended(mesh, ["cut"], within=WITHIN)
        line.mend()
        await working(mesh, 2, kind)
        await well(mesh, {"cut": "completed"})


@pytest.mark.skipif(not LONG, reason="RUNMESH_CHAOS=long")
@KINDS
async def test_a_slow_line_only_makes_it_slow(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh, line_to(mesh.servers[0].url) as line:
        line.delay = LEASE / 20
        mesh.keep("resolver", RUNMESH_NATS_URL=line.url)
        mesh.keep("worker", kind, RUNMESH_NATS_URL=line.url)
        runs = {f"slow-{number}": "completed" for number in range(5)}
        for run in runs:
            await request(mesh, run, "short", kind)
        facts = await well(mesh, runs)
        assert {fact.epoch for run in runs for fact in facts[run] if isinstance(fact, TaskFact)} == {0}


# --- copies and stale words -----------------------------------------------------------------------------


@SOME_KINDS
async def test_a_second_copy_of_a_command_is_a_copy_and_no_take_over(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        await request(mesh, "copied", "held", kind)
        (command,) = await eventually(lambda: commands(mesh.bus, kind))
        for _ in range(2):
            mesh.keep("worker", kind)
        await told(mesh, "copied", "running")
        for _ in range(3):
            await publish(mesh, command)
        await delivered(mesh, kind, 4)
        (mesh.folder.path / "go").touch()
        facts = await well(mesh, {"copied": "completed"})
        assert {fact.epoch for fact in facts["copied"] if isinstance(fact, TaskFact)} == {0}
        assert task_states(facts["copied"]) == ["queued", "submitted", "running", "completed"]


async def test_a_stale_nak_starts_nothing(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        await request(mesh, "nakked", "held", REMOTE)
        stream, durable = subjects.execute_stream(REMOTE), subjects.execute_consumer("default")
        async with mesh.bus.consume(stream, durable, slots=1) as pump:
            message = await anext(pump)
            message.release()
        for _ in range(2):
            mesh.keep("worker", REMOTE)
        await told(mesh, "nakked", "running")
        before = (await mesh.bus.api(f"CONSUMER.INFO.{stream}.{durable}"))["delivered"]["consumer_seq"]
        await message.nak()

        async def delivered_again() -> bool:
            info = await mesh.bus.api(f"CONSUMER.INFO.{stream}.{durable}")
            return bool(info["delivered"]["consumer_seq"] > before)

        # Whether the server still takes it or not: nothing may come of it.
        try:
            await eventually(delivered_again, within=2 * LEASE)
        finally:
            (mesh.folder.path / "go").touch()
        facts = await well(mesh, {"nakked": "completed"})
        assert {fact.epoch for fact in facts["nakked"] if isinstance(fact, TaskFact)} == {0}


async def publish(mesh: ChaosMesh, command: ExecuteTask) -> None:
    subject = subjects.execute(command.executor_type, command.pool, command.project, command.run, command.block)
    await mesh.bus.publish(subject, command.to_json(), headers=headers_for(command, event_id=command.key, source="/x"))


async def delivered(mesh: ChaosMesh, kind: str, count: int) -> None:
    """Wait until so many messages are held."""
    stream, durable = subjects.execute_stream(kind), subjects.execute_consumer("default")

    async def held() -> bool:
        return (await mesh.bus.consumer_info(stream, durable)).ack_pending == count

    await eventually(held, within=WITHIN)


# --- an emptied work queue ------------------------------------------------------------------------------


@SOME_KINDS
async def test_an_emptied_work_queue_is_filled_again_from_what_is_stored(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        runs = {f"emptied-{number}": "completed" for number in range(10)}
        for run in runs:
            await request(mesh, run, "short", kind)
        await eventually(lambda: _counts(mesh, kind, len(runs)), within=WITHIN)
        await mesh.bus.api(f"STREAM.PURGE.{subjects.execute_stream(kind)}")
        mesh.kill("nats")
        mesh.keep("worker", kind)
        await well(mesh, runs)


async def _counts(mesh: ChaosMesh, kind: str, count: int) -> bool:
    return (await mesh.bus.stream_info(subjects.execute_stream(kind))).messages == count


# --- a cancel in every gap ------------------------------------------------------------------------------


@KINDS
async def test_a_cancel_in_any_gap_leaves_nothing_running(tmp_path: Path, kind: str) -> None:
    gaps = {
        "before-planning": Point.REQUEST_TAKEN,
        "after-planning": Point.PLAN_STORED,
        "before-the-claim": Point.CLAIMED,
        "before-the-submit": Point.BEFORE_SUBMIT,
        "between-submit-and-record": Point.SUBMITTED_NOT_RECORDED,
        "after-the-record": Point.RECORDED,
        "while-it-runs": Point.OBSERVING,
    }
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        mesh.keep("worker", kind)
        await working(mesh, 1, kind)
        for run, point in gaps.items():
            mesh.rules.add(rule(run, point, Act.HOLD, before=point is Point.CLAIMED))
            await request(mesh, run, "endless", kind)
            await hit(mesh, run)
            await ask(mesh.bus, "cancel", {"run": run})
            if point not in (Point.REQUEST_TAKEN, Point.PLAN_STORED):
                await eventually(partial(_is, mesh, run, "cancelling"), within=WITHIN)
            mesh.rules.let_go(f"{run}.rule")
            assert not await ended(mesh, [run], within=WITHIN), f"{run}: {(await facts_of(mesh))[run]}"
        await well(mesh, dict.fromkeys(gaps, "cancelled"))


async def _is(mesh: ChaosMesh, run: str, state: str) -> bool:
    return await mesh.bus.last(subjects.FACTS, f"mesh.run.{state}.*.*.{run}") is not None


async def test_a_cancel_without_any_worker_ends_the_run(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        await request(mesh, "nobody", "endless", REMOTE)
        await eventually(lambda: commands(mesh.bus, REMOTE))
        await ask(mesh.bus, "cancel", {"run": "nobody"})
        assert not await ended(mesh, ["nobody"], within=WITHIN)
        mesh.keep("worker", REMOTE)
        await well(mesh, {"nobody": "cancelled"})
        assert mesh.folder.started() == []


async def test_a_cancel_before_its_request_is_found_by_it(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        mesh.keep("worker", REMOTE)
        await ask(mesh.bus, "cancel", {"run": "early"})
        await eventually(lambda: mesh.bus.bucket(subjects.RUNS).get(subjects.run_state("early")), within=WITHIN)
        await request(mesh, "early", "endless", REMOTE)
        await well(mesh, {"early": "cancelled"})
        assert mesh.folder.started() == []


async def test_a_cancel_while_a_retry_waits_ends_the_run_at_once(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        mesh.keep("resolver")
        mesh.keep("worker", REMOTE)
        await request(mesh, "waits", "failing", REMOTE)
        await told(mesh, "waits", "retrying")
        await ask(mesh.bus, "cancel", {"run": "waits"})
        await well(mesh, {"waits": "cancelled"})
        assert len(mesh.folder.started()) == 1


@SOME_KINDS
async def test_a_cancel_while_the_connection_is_away_is_heard_afterwards(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh, line_to(mesh.servers[0].url) as line:
        mesh.keep("resolver")
        mesh.keep("worker", kind, RUNMESH_NATS_URL=line.url)
        await working(mesh, 1, kind)
        await request(mesh, "away", "endless", kind)
        await told(mesh, "away", "running")
        line.cut()
        await ask(mesh.bus, "cancel", {"run": "away"})
        await eventually(lambda: _is(mesh, "away", "cancelling"), within=WITHIN)
        line.mend()
        await well(mesh, {"away": "cancelled"})


# --- races ----------------------------------------------------------------------------------------------


@SOME_KINDS
async def test_two_resolvers_and_three_workers_race_over_the_same_runs(tmp_path: Path, kind: str) -> None:
    async with mesh_in(tmp_path) as mesh:
        for _ in range(2):
            mesh.keep("resolver")
        for _ in range(3):
            mesh.keep("worker", kind, RUNMESH_SLOTS="8")
        runs = {f"race-{number}": "completed" for number in range(30)}
        async with asyncio.TaskGroup() as group:
            for run in runs:
                for _ in range(2):
                    group.create_task(request(mesh, run, "short", kind))
        facts = await well(mesh, runs)
        assert {fact.epoch for run in runs for fact in facts[run] if isinstance(fact, TaskFact)} == {0}

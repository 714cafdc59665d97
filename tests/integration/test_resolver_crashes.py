"""The resolver when something dies, is lost, or makes no sense: nothing is lost, nothing twice, nobody hangs."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.claims import Claim, Stop
from runmesh.embedded import Server
from runmesh.events import Cause, ExecuteTask, RunRequest, RunState, TaskFact, TaskState
from runmesh.resolver.happened import Claimed, Present
from runmesh.resolver.intake import Intake
from runmesh.resolver.lanes import Lanes
from runmesh.resolver.plan import Plan
from runmesh.resolver.planner import Planner
from runmesh.resolver.presence import Presence
from runmesh.resolver.retention import Retention
from runmesh.resolver.state import State
from runmesh.resolver.store import Store
from runmesh.resolver.timers import Timers
from tests.conftest import ACK_WAIT
from tests.eventually import eventually
from tests.shop import (
    answering,
    ask,
    commands,
    dead_letters,
    killable,
    report,
    resolving,
    settings_for,
    states,
    task_facts,
    write_pipeline,
    write_project,
)

CHAIN = {"a": [], "b": ["a"], "c": ["b"]}


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """A folder of projects with one in it."""
    project = write_project(tmp_path / "shop")
    write_pipeline(project, "one", {"only": []})
    write_pipeline(project, "chain", CHAIN)
    write_pipeline(project, "remote", {"far": []}, executor_type="k8s")
    write_pipeline(
        project, "fan", {f"b{number}": [] for number in range(400)}, concurrency_config={"block_run_limit": 4}
    )
    return tmp_path


async def ends(bus: Bus, run: str, state: str) -> None:
    async def ended() -> bool:
        return state in await states(bus, run)

    await eventually(ended)


async def one_command(bus: Bus, executor_type: str = "local_python") -> ExecuteTask:
    (command,) = await eventually(lambda: commands(bus, executor_type))
    return command


async def kill(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_two_resolvers_command_every_task_once(bus: Bus, projects: Path) -> None:
    # Without sweeps: they look at claims, which this stand-in for a worker doesn't write, and would command again.
    settings = settings_for(projects, sweep_interval=60)
    async with resolving(bus, settings), resolving(bus, settings), answering(bus) as taken:
        for number in range(30):
            await ask(bus, "run", {"pipeline": "chain", "id": f"r{number}"})
        for number in range(30):
            await ends(bus, f"r{number}", "completed")
        assert len(taken) == len({command.key for command in taken}) == 90


async def test_a_reason_that_no_state_has_room_for_fails_the_run(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        reason = os.urandom(400_000).hex()
        await report(bus, await one_command(bus), TaskState.FAILED, Cause.USER, reason=reason)
        await ends(bus, "r1", "failed")


async def test_an_end_that_the_resolver_decided_but_did_not_tell_is_told(bus: Bus, projects: Path) -> None:
    settings = settings_for(projects, queue_timeout=1.0, infrastructure_retries=0)
    async with killable(bus, settings) as first:
        await ask(bus, "run", {"pipeline": "remote", "id": "r1"})
        command = await one_command(bus, "k8s")
        await kill(first)
    fact = TaskFact(
        run="r1",
        block="far",
        attempt=1,
        key=command.key,
        state=TaskState.FAILED,
        n=1,
        executor_type="k8s",
        pool="default",
        cause=Cause.CAPACITY,
        at=datetime.now(UTC),
    )
    claim = Claim(owner="resolver", claimed_at=fact.at).finished(fact)
    await bus.bucket(subjects.CLAIMS).create(subjects.claim("k8s", "default", command.key), claim.encode())
    async with resolving(bus, settings):
        await ends(bus, "r1", "failed")
        assert fact in await task_facts(bus, "r1")


async def forgetting(bus: Bus) -> None:
    """Have the stream of facts forget the ids of messages at once, instead of after two minutes."""
    facts = (await bus.api(f"STREAM.INFO.{subjects.FACTS}"))["config"]
    await bus.api(f"STREAM.UPDATE.{subjects.FACTS}", {**facts, "duplicate_window": 100_000_000})


async def let_time_pass(store: Store, name: str) -> None:
    """Have a run owe what it owes for an hour, and the stream forget what it was told."""
    run, hour = await store.load(name), timedelta(hours=1)
    assert run is not None
    assert run.state.outbox
    long_ago = tuple(debt.model_copy(update={"at": debt.at - hour}) for debt in run.state.outbox)
    await store.swap(run, run.state.model_copy(update={"outbox": long_ago}))
    await asyncio.sleep(0.3)


async def test_a_request_that_comes_again_after_the_end_of_its_run_tells_nothing(bus: Bus, projects: Path) -> None:
    await forgetting(bus)
    async with resolving(bus, settings_for(projects)), answering(bus, a=TaskState.FAILED):
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        await ends(bus, "r1", "failed")
        await eventually(lambda: is_retired(bus))
        told = await task_facts(bus, "r1")
        await let_time_pass(Store(bus), "r1")
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        await eventually(lambda: none_queued(bus))
        assert await task_facts(bus, "r1") == told


async def is_retired(bus: Bus) -> bool:
    return not await bus.bucket(subjects.RUNS).keys("active.*")


async def none_queued(bus: Bus) -> bool:
    return (await bus.stream_info(subjects.REQUESTS)).messages == 0


async def test_what_was_told_before_all_resolvers_were_away_is_not_told_again(bus: Bus, projects: Path) -> None:
    await forgetting(bus)
    settings, store = settings_for(projects), Store(bus)
    async with killable(bus, settings_for(projects, sweep_interval=60)) as first:
        await ask(bus, "run", {"pipeline": "remote", "id": "r1"})
        await one_command(bus, "k8s")
        await kill(first)
    await let_time_pass(store, "r1")
    told = await task_facts(bus, "r1")
    async with resolving(bus, settings):

        async def noted() -> bool:
            run = await store.load("r1")
            return run is not None and not run.state.outbox

        await eventually(noted)
    assert await task_facts(bus, "r1") == told


async def test_an_end_that_its_worker_told_long_ago_is_not_told_again(bus: Bus, projects: Path) -> None:
    await forgetting(bus)
    settings, long_ago = settings_for(projects), datetime.now(UTC) - timedelta(hours=1)
    async with killable(bus, settings) as first:
        await ask(bus, "run", {"pipeline": "remote", "id": "r1"})
        command = await one_command(bus, "k8s")
        await kill(first)
    await report(bus, command, at=long_ago)
    (fact,) = [fact for fact in await task_facts(bus, "r1") if fact.state is TaskState.COMPLETED]
    claim = Claim(owner="worker", claimed_at=long_ago).finished(fact)
    await bus.bucket(subjects.CLAIMS).create(subjects.claim("k8s", "default", command.key), claim.encode())
    await asyncio.sleep(0.3)  # until the stream has forgotten its id
    async with asyncio.TaskGroup() as tasks:
        Lanes(bus, tasks=tasks, timers=Timers(), surroundings=Poison(0)).sweep("r1")
    assert (await states(bus, "r1"))[-1] == "completed"
    assert [told for told in await task_facts(bus, "r1") if told == fact] == [fact]


async def test_a_task_that_its_worker_gave_back_unstarted_is_ended_without_another_worker(
    bus: Bus, projects: Path
) -> None:
    claims = bus.bucket(subjects.CLAIMS)
    async with resolving(bus, settings_for(projects, sweep_interval=0.2)):
        await ask(bus, "run", {"pipeline": "remote", "id": "r1"})
        command = await one_command(bus, "k8s")
        key = subjects.claim("k8s", "default", command.key)
        await claims.create(key, Claim(owner="worker-1", claimed_at=datetime.now(UTC)).encode())
        await ask(bus, "cancel", {"run": "r1"})
        await eventually(lambda: is_claimed(bus, "r1", "far"))
        await claims.delete(key)
        await ends(bus, "r1", "cancelled")


async def is_claimed(bus: Bus, run: str, block: str) -> bool:
    entry = await bus.bucket(subjects.RUNS).get(subjects.run_state(run))
    return entry is not None and State.decode(entry.value).tasks[block].claimed


async def test_a_run_whose_plan_came_late_goes_on_at_every_replica(bus: Bus, projects: Path) -> None:
    settings, runs = settings_for(projects), bus.bucket(subjects.RUNS)
    async with killable(bus, settings) as first:
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        command = await one_command(bus)
        await kill(first)
    plan = await runs.get(subjects.run_plan("r1"))
    assert plan is not None
    await runs.delete(plan.key)
    async with resolving(bus, settings):
        await report(bus, command)

        async def handed_back() -> bool:
            info = await bus.api(f"CONSUMER.INFO.{subjects.FACTS}.{subjects.RESOLVER}")
            return bool(info["num_redelivered"])

        await eventually(handed_back)
        await runs.put(plan.key, plan.value)
        async with answering(bus):
            await ends(bus, "r1", "completed")


async def test_a_busy_run_can_be_cancelled(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus) as taken:
        await ask(bus, "run", {"pipeline": "fan", "id": "r1"})
        await eventually(lambda: taken)
        await ask(bus, "cancel", {"run": "r1"})
        await ends(bus, "r1", "cancelled")
        assert len(taken) < 400


async def test_a_dead_letter_that_is_refused_stops_nobody(bus: Bus, projects: Path) -> None:
    config = (await bus.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    full = {**config, "discard": "new", "max_bytes": 1}
    await bus.api(f"STREAM.UPDATE.{subjects.DEAD}", full)
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", b"nonsense")
        await bus.publish("mesh.task.completed.k8s.default.shop.r1.x", b"nonsense")
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "completed")
        await bus.api(f"STREAM.UPDATE.{subjects.DEAD}", config)

        async def both() -> bool:
            return len(await dead_letters(bus)) == 2

        await eventually(both)


async def test_a_worker_with_an_impossible_name_stops_nobody(bus: Bus, projects: Path) -> None:
    workers = bus.bucket(subjects.WORKERS)
    await workers.put("nonsense", b"{}")
    await workers.put("a.b.c.d.e", b"{}")
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "completed")


async def test_the_order_to_stop_is_given_again_by_the_sweep(bus: Bus, projects: Path) -> None:
    runs = bus.bucket(subjects.RUNS)
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        command = await one_command(bus)
        claim = Claim(owner="a-worker", claimed_at=datetime.now(UTC))
        await bus.bucket(subjects.CLAIMS).create(subjects.claim("local_python", "default", command.key), claim.encode())
        await ask(bus, "cancel", {"run": "r1"})
        await eventually(lambda: runs.get(subjects.cancelling("r1")))
        await runs.put(subjects.cancelling("r1"), Stop(keys=("another",)).encode())

        async def corrected() -> bool:
            record = await runs.get(subjects.cancelling("r1"))
            return record is not None and Stop.decode(record.value).names(command.key)

        await eventually(corrected)


async def test_a_sweep_leaves_a_command_that_is_owed_behind_the_facts_before_it(bus: Bus, projects: Path) -> None:
    async with killable(bus, settings_for(projects, sweep_interval=60)) as first:
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        command = await one_command(bus)
        await kill(first)
    await bus.api(f"STREAM.PURGE.{subjects.execute_stream('local_python')}")
    run = await Store(bus).load("r1")
    assert run is not None
    assert run.plan is not None
    assert "execute" in {debt.kind for debt in run.state.outbox}, "that it is paid rides on the next swap"
    await Store(bus).republish(run.plan, run.state, ())
    assert await commands(bus) == []
    await Store(bus).republish(run.plan, run.state.owing(()), ())
    assert await commands(bus) == [command]


class Poison:
    """What surrounds the runs: breaks a turn as often as it is told to."""

    def __init__(self, doses: float) -> None:
        self.doses = doses

    def __call__(self) -> Present:
        self.doses -= 1
        if self.doses >= 0:
            raise ZeroDivisionError
        return Present(frozenset({("local_python", "default")}))


@pytest.mark.parametrize("doses", [1, 3, 4])
async def test_a_fact_that_breaks_its_turn_fails_its_run_or_comes_again(bus: Bus, projects: Path, doses: int) -> None:
    async with killable(bus, settings_for(projects)) as first:
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        command = await one_command(bus)
        await kill(first)
    await report(bus, command)

    async def judged() -> bool:
        entry = await bus.bucket(subjects.RUNS).get(subjects.run_state("r1"))
        assert entry is not None
        state = State.decode(entry.value)
        return state.state is RunState.FAILED if doses == 3 else "b" in state.tasks

    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(bus, tasks=tasks, timers=Timers(), surroundings=Poison(doses))
        taking = tasks.create_task(take_facts(bus, lanes))
        await eventually(judged, within=60)
        taking.cancel()
    assert {letter["reason"] for letter in await dead_letters(bus)} == ({"poison"} if doses > 1 else set())


async def test_a_run_that_breaks_every_look_at_it_is_failed_as_it_stands(bus: Bus, projects: Path) -> None:
    async with killable(bus, settings_for(projects)) as first:
        await ask(bus, "run", {"pipeline": "remote", "id": "r1"})
        command = await one_command(bus, "k8s")
        await kill(first)
    await bus.bucket(subjects.CLAIMS).put(subjects.claim("k8s", command.pool, command.key), b"no claim")
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(bus, tasks=tasks, timers=Timers(), surroundings=Poison(0))

        async def failed() -> bool:
            lanes.sweep("r1")
            return (await states(bus, "r1"))[-1] == "failed"

        await eventually(failed, within=60)
    assert await states(bus, "r1") == ["accepted", "running", "failing", "failed"]
    assert not await Store(bus).is_active("r1")
    stop = await bus.bucket(subjects.RUNS).get(subjects.cancelling("r1"))
    assert stop is not None
    assert Stop.decode(stop.value).keys == "all"


async def take_facts(bus: Bus, lanes: Lanes) -> None:
    async with bus.consume(subjects.FACTS, subjects.RESOLVER, slots=1) as pump:
        async for message in pump:
            fact = TaskFact.model_validate_json(message.data)
            lanes.give(fact.run, fact, message)


class Broken(Planner):
    """Fails on one pipeline by a fault of its own."""

    async def plan(self, project: str, request: RunRequest, run: str, **about: Any) -> Plan:
        """Plan, or fail."""
        if request.pipeline == "chain":
            raise ZeroDivisionError
        return await super().plan(project, request, run, **about)


async def test_a_request_that_breaks_the_resolver_three_times_is_dead_and_rejected(bus: Bus, projects: Path) -> None:
    settings = settings_for(projects)
    async with asyncio.TaskGroup() as tasks:
        presence = Presence(bus)
        lanes = Lanes(bus, tasks=tasks, timers=Timers(), surroundings=lambda: presence.event)
        intake = Intake(bus, Broken(bus, settings, {}), lanes, presence)
        taking = tasks.create_task(take_requests(bus, intake))
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "running")
        await ends(bus, "r1", "rejected")
        taking.cancel()
    assert [letter["reason"] for letter in await dead_letters(bus)] == ["poison"]
    assert (await bus.stream_info(subjects.REQUESTS)).messages == 0


async def take_requests(bus: Bus, intake: Intake) -> None:
    async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
        async for message in pump:
            await intake.take(message)


async def test_a_run_that_has_ended_tells_nothing_again(bus: Bus, projects: Path) -> None:
    await forgetting(bus)
    settings = settings_for(projects)
    async with resolving(bus, settings), answering(bus, a=TaskState.FAILED):
        await ask(bus, "run", {"pipeline": "chain", "id": "r1"})
        await ends(bus, "r1", "failed")
        await eventually(lambda: is_retired(bus))
        told = len(await task_facts(bus, "r1"))
        await asyncio.sleep(0.3)  # until the stream has forgotten their ids
        await ask(bus, "cancel", {"run": "r1"})
        await eventually(lambda: none_queued(bus))
        await ask(bus, "run", {"pipeline": "one", "id": "after"})
        await ends(bus, "after", "completed")
        assert len(await task_facts(bus, "r1")) == told


async def test_an_unreadable_run_keeps_no_other_from_being_forgotten(bus: Bus, projects: Path) -> None:
    runs = bus.bucket(subjects.RUNS)
    await runs.put(subjects.run_state("broken"), b"\x00nonsense")
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await ends(bus, "r1", "completed")
    await Retention(bus, keep=timedelta(0)).sweep()
    assert await runs.keys("run.>") == [subjects.run_state("broken")]
    assert await bus.bucket(subjects.CLAIMS).keys() == []


async def test_nothing_active_is_forgotten_while_it_is_being_created(bus: Bus) -> None:
    store, runs = Store(bus), bus.bucket(subjects.RUNS)
    await store.activate("r1")
    assert await store.retire_orphan("r1")
    await store.activate("r2")
    await runs.put(subjects.run_state("r2"), b"{}")
    assert not await store.retire_orphan("r2")
    assert [await store.is_active(run) for run in ("r1", "r2")] == [False, True]


async def test_whoever_begins_a_run_does_not_wait_for_its_end(bus: Bus, projects: Path) -> None:
    async with killable(bus, settings_for(projects)) as first:
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await one_command(bus)
        await kill(first)
    run = await Store(bus).load("r1")
    assert run is not None
    busy = True

    def always_something() -> Present:
        if busy:
            lanes.give("r1", Claimed("only", "another"))
        return Present(frozenset())

    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(bus, tasks=tasks, timers=Timers(), surroundings=always_something)
        began = tasks.create_task(lanes.begin(run))
        await asyncio.sleep(0)
        lanes.give("r1", Claimed("only", "another"))
        done, _ = await asyncio.wait({began}, timeout=60)
        busy = False
        assert done, "the cancel of a busy run would wait for its last task"


async def test_killed_again_and_again_every_run_ends_once(bus: Bus, projects: Path) -> None:
    settings, runs = settings_for(projects), [f"r{number}" for number in range(30)]
    async with answering(bus):
        for run in runs:
            await ask(bus, "run", {"pipeline": "chain", "id": run})
        for milliseconds in (5, 9, 14, 20, 27, 35, 44, 54, 65, 77):
            async with killable(bus, settings) as resolver:
                await asyncio.wait({resolver}, timeout=milliseconds / 1000)
        async with resolving(bus, settings), resolving(bus, settings):
            for run in runs:
                await ends(bus, run, "completed")
                assert await states(bus, run) == ["accepted", "running", "completed"]
    completed = [fact.key for run in runs for fact in await task_facts(bus, run) if fact.state is TaskState.COMPLETED]
    assert len(completed) == len(set(completed)) == 90
    assert await dead_letters(bus) == []


async def test_a_resolver_that_drains_leaves_the_rest_to_the_next(bus: Bus, projects: Path) -> None:
    settings, runs = settings_for(projects), [f"r{number}" for number in range(100)]
    async with answering(bus) as taken:
        for run in runs:
            await ask(bus, "run", {"pipeline": "chain", "id": run})
        async with resolving(bus, settings):
            await eventually(lambda: taken)
        async with resolving(bus, settings):
            for run in runs:
                await ends(bus, run, "completed")
                assert await states(bus, run) == ["accepted", "running", "completed"]


async def test_a_server_that_dies_under_load_costs_nothing(nats_server: Server, projects: Path) -> None:
    runs = [f"r{number}" for number in range(60)]
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=ACK_WAIT)
        async with resolving(bus, settings_for(projects)), answering(bus) as taken:
            for run in runs:
                await ask(bus, "run", {"pipeline": "chain", "id": run})
            await eventually(lambda: len(taken) > 20)
            await nats_server.kill()
            await nats_server.start()
            for run in runs:
                await ends(bus, run, "completed")
                assert await states(bus, run) == ["accepted", "running", "completed"]

"""Pipelines whose runs are limited in number, with a real nats-server and as many resolvers as anybody likes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.events import FINAL_RUN_STATES, ExecuteTask, RunFact, RunState
from runmesh.resolver.gate import Gate
from runmesh.resolver.happened import Admitted, NoRoom
from runmesh.resolver.limits import Limits
from runmesh.resolver.places import Asking, Places
from runmesh.resolver.plan import Plan
from runmesh.resolver.retention import Retention
from tests.eventually import eventually
from tests.shop import (
    answering,
    ask,
    commands,
    killable,
    report,
    resolving,
    run_facts,
    settings_for,
    states,
    write_pipeline,
    write_project,
)
from tests.unit.plans import plan_of

LIMITED = subjects.pipeline_key("shop", "limited")
ALL_THREE = {"pipeline_run_limit": 1, "pipeline_run_limit_all_triggers": 3}


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """A folder of projects with one in it."""
    project = write_project(tmp_path / "shop")
    write_pipeline(project, "free", {"only": []})
    limited_to(tmp_path, pipeline_run_limit=1)
    return tmp_path


def limited_to(projects: Path, **concurrency_config: Any) -> None:
    write_pipeline(projects / "shop", "limited", {"only": []}, concurrency_config=concurrency_config)


@asynccontextmanager
async def two_resolvers(bus: Bus, projects: Path) -> AsyncIterator[None]:
    async with resolving(bus, settings_for(projects)), resolving(bus, settings_for(projects)):
        yield


async def is_(bus: Bus, run: str, state: str) -> None:
    async def reached() -> bool:
        return state in await states(bus, run)

    await eventually(reached)


async def wait_in_line(bus: Bus, *runs: str, **more: Any) -> None:
    """Request runs one after another, each when the one before is known to wait."""
    for run in runs:
        await ask(bus, "run", {"pipeline": "limited", "id": run, **more})
        await is_(bus, run, "accepted")


async def waiting(bus: Bus) -> set[str]:
    return {key.rpartition(".")[2] for key in await bus.bucket(subjects.RUNS).keys("waiting.>")}


async def only_waits(bus: Bus, run: str) -> bool:
    return await waiting(bus) == {run}


async def held(bus: Bus) -> set[str]:
    entry = await bus.bucket(subjects.RUNS).get(subjects.limit(LIMITED))
    return set(Places.decode(entry.value).held) if entry else set()


async def hold(bus: Bus, *runs: str) -> None:
    """Write down who has a place, as a resolver would that then died."""
    places = Places(held=dict.fromkeys(runs, ""), per_trigger={"": 1} if runs else {})
    await bus.bucket(subjects.RUNS).put(subjects.limit(LIMITED), places.encode())


async def nothing_is_left(bus: Bus) -> None:
    async def nothing() -> bool:
        return not await bus.bucket(subjects.RUNS).keys("active.*") and not await held(bus) | await waiting(bus)

    await eventually(nothing)


async def finish(bus: Bus, run: str) -> None:
    """Report a run's only task, as a worker would."""

    async def ordered() -> list[ExecuteTask]:
        return [command for command in await commands(bus) if command.run == run]

    (command,) = await eventually(ordered)
    await report(bus, command)


async def most_at_once(bus: Bus) -> int:
    """Count from the stored facts how many runs were running between two facts."""
    most, running = 0, set[str]()
    async for message in bus.replay(subjects.FACTS, "mesh.run.>"):
        fact = RunFact.model_validate_json(message.data)
        if fact.state is RunState.RUNNING:
            running.add(fact.run)
        elif fact.state in FINAL_RUN_STATES:
            running.discard(fact.run)
        most = max(most, len(running))
    return most


async def test_the_limit_holds_for_thirty_runs_over_two_resolvers(bus: Bus, projects: Path) -> None:
    limited_to(projects, pipeline_run_limit_all_triggers=3)
    runs = [f"r{number}" for number in range(30)]
    async with two_resolvers(bus, projects):
        for run in runs:
            await ask(bus, "run", {"pipeline": "limited", "id": run})
        for run in runs:
            await is_(bus, run, "accepted")
        await eventually(lambda: commands(bus))
        assert len(await held(bus)) == 3
        async with answering(bus):
            for run in runs:
                await is_(bus, run, "completed")
                assert await states(bus, run) == ["accepted", "running", "completed"]
        await nothing_is_left(bus)
    assert await most_at_once(bus) == 3


async def test_a_run_that_waits_says_why(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await wait_in_line(bus, "r1", "r2")
        first, second = (await run_facts(bus, "r1"))[0], (await run_facts(bus, "r2"))[0]
        assert first.reason is None
        assert second.state is RunState.ACCEPTED
        expected = "waiting: 1 of 1 runs of this pipeline without a trigger are running (pipeline_run_limit)"
        assert second.reason == expected


async def test_the_oldest_goes_first_whoever_took_its_request(bus: Bus, projects: Path) -> None:
    runs = [f"r{number}" for number in range(10)]
    async with two_resolvers(bus, projects):
        await wait_in_line(bus, *runs)
        async with answering(bus) as taken:
            await is_(bus, "r9", "completed")
            assert list(dict.fromkeys(command.run for command in taken)) == runs


async def test_a_newcomer_never_overtakes(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects, sweep_interval=60)):
        await is_swept_first(bus)
        await bus.bucket(subjects.RUNS).put(subjects.waiting(LIMITED, "old"), Asking(run="old", per_trigger=1).encode())
        await wait_in_line(bus, "new")
        assert await held(bus) == {"old"}
        assert await waiting(bus) == {"new"}


async def test_a_run_is_skipped_where_the_pipeline_says_so(bus: Bus, projects: Path) -> None:
    limited_to(projects, pipeline_run_limit=1, on_pipeline_run_limit_reached="skip")
    async with two_resolvers(bus, projects):
        await wait_in_line(bus, "r1", "r2")
        await is_(bus, "r2", "cancelled")
        last = (await run_facts(bus, "r2"))[-1]
        assert last.reason is not None
        assert last.reason.startswith("skipped: 1 of 1 runs of this pipeline")
        assert last.counts == {"cancelled": 1}
        async with answering(bus):
            await is_(bus, "r1", "completed")
            await nothing_is_left(bus)
            await wait_in_line(bus, "r3")
            await is_(bus, "r3", "completed")


async def test_a_trigger_that_is_full_is_passed_over_for_another_one(bus: Bus, projects: Path) -> None:
    limited_to(projects, **ALL_THREE)
    async with two_resolvers(bus, projects):
        for run in ("a1", "a2", "b1", "c1", "a3", "d1"):
            await wait_in_line(bus, run, trigger_name=run[0])
        assert await held(bus) == {"a1", "b1", "c1"}
        assert (await run_facts(bus, "a2"))[0].reason == (
            "waiting: 1 of 1 runs of this pipeline of trigger 'a' are running (pipeline_run_limit)"
        )
        assert (await run_facts(bus, "d1"))[0].reason == (
            "waiting: 3 of 3 runs of this pipeline are running (pipeline_run_limit_all_triggers)"
        )
        await finish(bus, "b1")
        await is_(bus, "d1", "running")
        await finish(bus, "a1")
        await is_(bus, "a2", "running")
        await eventually(lambda: only_waits(bus, "a3"))


async def test_runs_that_wait_delay_no_other_pipeline(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await wait_in_line(bus, *(f"r{number}" for number in range(20)))
        await ask(bus, "run", {"pipeline": "free", "id": "other"})
        await is_(bus, "other", "running")
        await finish(bus, "other")
        await is_(bus, "other", "completed")


async def test_a_pipeline_without_limits_writes_nothing_about_them(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", {"pipeline": "free", "id": "r1"})
        await is_(bus, "r1", "completed")
        info = await bus.api("STREAM.INFO.KV_runs", {"subjects_filter": "$KV.runs.>"})
        assert {key.split(".")[2] for key in info["state"]["subjects"]} == {"run", "active"}


async def test_a_run_that_is_cancelled_while_it_waits_ends_at_once(bus: Bus, projects: Path) -> None:
    async with two_resolvers(bus, projects):
        await wait_in_line(bus, "r1", "r2", "r3")
        await ask(bus, "cancel", {"run": "r2", "reason": "too late"})
        await is_(bus, "r2", "cancelled")

        await eventually(lambda: only_waits(bus, "r3"))
        await finish(bus, "r1")
        await is_(bus, "r3", "running")
        assert await states(bus, "r2") == ["accepted", "cancelling", "cancelled"]


async def test_a_cancelled_run_makes_room(bus: Bus, projects: Path) -> None:
    async with two_resolvers(bus, projects):
        await wait_in_line(bus, "r1", "r2")
        await ask(bus, "cancel", {"run": "r1"})
        await is_(bus, "r2", "running")


async def test_the_run_timeout_goes_on_while_it_waits(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await wait_in_line(bus, "r1")
        await wait_in_line(bus, "r2", timeout=0.3)
        await is_(bus, "r2", "failed")
        assert (await run_facts(bus, "r2"))[-1].reason == "the run exceeded its timeout of 0.3 s"
        assert await held(bus) == {"r1"}


async def test_a_raised_limit_helps_who_waits_as_soon_as_another_run_comes(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await wait_in_line(bus, "r1", "r2", "r3")
        limited_to(projects, pipeline_run_limit=3)
        await asyncio.sleep(0.6)  # as long as an explanation is kept
        await wait_in_line(bus, "r4")
        await is_(bus, "r3", "running")


async def test_a_place_that_was_given_is_used_though_its_giver_died(bus: Bus, projects: Path) -> None:
    async with killable(bus, settings_for(projects, sweep_interval=60)) as first:
        await wait_in_line(bus, "r1", "r2")
        await kill(first)
    # The first resolver saw the end of r1, gave its place to r2, and died before r2 knew.
    await finish(bus, "r1")
    await hold(bus, "r2")
    await bus.bucket(subjects.RUNS).delete(subjects.waiting(LIMITED, "r2"))
    async with two_resolvers(bus, projects), answering(bus):
        await is_(bus, "r2", "completed")
        await nothing_is_left(bus)


@pytest.mark.parametrize("who", [(), ("a-run-that-ended",)])
async def test_a_place_that_nobody_gave_on_is_given_by_the_sweep(bus: Bus, projects: Path, who: tuple[str]) -> None:
    async with killable(bus, settings_for(projects, sweep_interval=60)) as first:
        await is_swept_first(bus)
        await hold(bus, "another")
        await wait_in_line(bus, "r1")
        assert await waiting(bus) == {"r1"}
        await kill(first)
    await hold(bus, *who)
    async with two_resolvers(bus, projects), answering(bus):
        await is_(bus, "r1", "completed")
        await nothing_is_left(bus)


async def is_swept_first(bus: Bus) -> None:
    """Let a resolver have its first sweep, which comes before it takes any request to its end."""
    await ask(bus, "run", {"pipeline": "free", "id": "first"})
    await is_(bus, "first", "running")


async def kill(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_a_place_that_came_too_late_is_given_back(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects, sweep_interval=60)), answering(bus):
        await wait_in_line(bus, "r1")
        await nothing_is_left(bus)
        # Of a resolver that was slow: it noted that the run waits when this had ended already.
        await bus.bucket(subjects.RUNS).put(subjects.waiting(LIMITED, "r1"), Asking(run="r1", per_trigger=1).encode())
        await wait_in_line(bus, "r2")
        await is_(bus, "r2", "completed")
        await nothing_is_left(bus)


async def test_a_run_that_is_noted_to_wait_while_it_runs_leaves_nothing(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)):
        await wait_in_line(bus, "r1")
        await eventually(lambda: commands(bus))
        # Of a resolver that was slow: it noted that the run waits when this had its place already.
        await bus.bucket(subjects.RUNS).put(subjects.waiting(LIMITED, "r1"), Asking(run="r1", per_trigger=1).encode())
        await finish(bus, "r1")
        await is_(bus, "r1", "completed")
        await nothing_is_left(bus)


async def test_killed_again_and_again_the_limit_holds(bus: Bus, projects: Path) -> None:
    limited_to(projects, pipeline_run_limit_all_triggers=2)
    runs = [f"r{number}" for number in range(12)]
    async with answering(bus):
        for run in runs:
            await ask(bus, "run", {"pipeline": "limited", "id": run})
        for milliseconds in (10, 15, 20, 30, 40, 60, 80, 120):
            async with AsyncExitStack() as stack:
                settings = settings_for(projects)
                both = {await stack.enter_async_context(killable(bus, settings)) for _ in range(2)}
                await asyncio.wait(both, timeout=milliseconds / 1000)
        async with two_resolvers(bus, projects):
            for run in runs:
                await is_(bus, run, "completed")
            await nothing_is_left(bus)
    assert await most_at_once(bus) <= 2


async def test_an_old_run_leaves_nothing_in_the_queue(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await wait_in_line(bus, "r1")
        await nothing_is_left(bus)
    await bus.bucket(subjects.RUNS).put(subjects.waiting(LIMITED, "r1"), b"{}")
    await Retention(bus, keep=timedelta(0)).sweep()
    assert await waiting(bus) == set()


async def test_the_places_of_a_pipeline_of_which_nothing_runs_are_forgotten(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)), answering(bus):
        await wait_in_line(bus, "r1")

        async def forgotten() -> bool:
            return "completed" in await states(bus, "r1") and not await bus.bucket(subjects.RUNS).keys("limit.*")

        await eventually(forgotten)
        await wait_in_line(bus, "r2")
        await is_(bus, "r2", "completed")


async def test_a_limit_of_zero_rejects_the_request(bus: Bus, projects: Path) -> None:
    limited_to(projects, pipeline_run_limit=0)
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", {"pipeline": "limited", "id": "r1"})
        await is_(bus, "r1", "rejected")
        (fact,) = await run_facts(bus, "r1")
        assert fact.errors is not None
        assert fact.errors[0].path == "pipelines/limited/metadata.yaml: concurrency_config: pipeline_run_limit"
        assert await waiting(bus) | await held(bus) == set()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_place_is_overlooked_and_none_is_given_twice(bus: Bus, seed: int) -> None:
    """Runs come and go at once through three gates, and no sweep helps."""
    chance, running = Random(seed), list[str]()  # noqa: S311 - nothing secret
    woken = {f"r{number}": asyncio.Event() for number in range(60)}
    gates = [Gate(bus, wake=lambda run: woken[run].set()) for _ in range(3)]

    async def live(run: str) -> None:
        trigger, gate = chance.choice("abc"), chance.choice(gates)
        request = {"trigger_name": trigger}
        plan = plan_of({"a": []}, request=request, run=run, limits=Limits(per_trigger=2, all_triggers=4))
        await asyncio.sleep(chance.uniform(0, 0.2))
        if isinstance(await gate.enter(plan), NoRoom):
            await woken[run].wait()
        running.append(trigger)
        assert len(running) <= 4
        assert running.count(trigger) <= 2
        await asyncio.sleep(chance.uniform(0, 0.02))
        running.remove(trigger)
        await chance.choice(gates).leave(plan)

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for run in woken:
            tasks.create_task(live(run))
    assert await bus.bucket(subjects.RUNS).keys("waiting.>") == []


async def test_whoever_comes_while_the_last_one_leaves_gets_the_place(bus: Bus) -> None:
    chance, woken = Random(1), asyncio.Event()  # noqa: S311 - nothing secret
    leaver, comer = Gate(bus, wake=lambda _: woken.set()), Gate(bus, wake=lambda _: woken.set())
    plans = [plan_of({"a": []}, run=f"r{number}", limits=Limits(per_trigger=1)) for number in range(100)]

    async def come(plan: Plan) -> None:
        await asyncio.sleep(chance.uniform(0, 0.004))
        if isinstance(await comer.enter(plan), NoRoom):
            await woken.wait()

    assert isinstance(await comer.enter(plans[0]), Admitted)
    for before, after in pairwise(plans):
        woken.clear()
        async with asyncio.timeout(60):
            await asyncio.gather(leaver.leave(before), come(after))

"""The crash matrix: a SIGKILL for each kind of process at each point of a task's life, for every executor.

An executor's test module subclasses `CrashMatrix` and names its executor type. The cases of one victim share a mesh
and run at once: each is a run of its own with a rule of its own, so whoever gets there first dies exactly there,
while the others go on, or are hit as well. Where workers die, a case has a pool with a worker to itself; there are
only so many of these, and cases wait for one. RUNMESH_CHAOS=long adds the moment before each point.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

import pytest

from runmesh import subjects
from runmesh.events import RunFact, RunState, TaskState
from tests.chaos.audit import audit, ended, facts_of
from tests.chaos.legal import Fact
from tests.chaos.mesh import LEASE, ChaosMesh, Cloud, chaos_mesh, working
from tests.chaos.points import Act, Point, Rule
from tests.emulators.running import running_platform
from tests.eventually import eventually
from tests.shop import ask

LONG: Final = os.environ.get("RUNMESH_CHAOS") == "long"
WITHIN: Final = 90.0
MOMENTS: Final = (False, True) if LONG else (False,)
_PIPELINES: Final = {
    Point.OBSERVING: "patient",
    Point.DURING_CANCEL: "endless",
    Point.DURING_DRAIN: "patient",
    Point.DURING_RETRY_DELAY: "flaky",
}
_SHARED: Final = (subjects.DEFAULT_POOL, subjects.DEFAULT_POOL)
_TRIES: Final = 5
_NEVER_BEFORE: Final = frozenset({Point.REQUEST_TAKEN})
"""Nobody passes by before a message is taken."""


@dataclass(frozen=True)
class Case:
    """One point and what happens there; one run of it after another, until the point was reached."""

    point: Point
    act: Act
    before: bool = False
    again: int = 0
    pool: str = subjects.DEFAULT_POOL

    @property
    def name(self) -> str:
        return f"{'before ' if self.before else ''}{self.point} {self.act}".replace(" ", "-")

    @property
    def run(self) -> str:
        return f"{self.name}-{self.again}"

    @property
    def rule(self) -> Rule:
        keys = (subjects.task_key(self.run, "work", attempt, again) for attempt in (1, 2) for again in range(9))
        return Rule(self.run, self.point, self.act, self.run, tuple(keys), before=self.before, pool=self.pool)

    @property
    def end(self) -> RunState:
        return RunState.CANCELLED if self.point is Point.DURING_CANCEL else RunState.COMPLETED


class CrashMatrix:
    """The cases."""

    executor_type: ClassVar[str]
    cloud: ClassVar[Cloud] = staticmethod(running_platform)
    acts: ClassVar[Sequence[Act]] = (Act.KILL_RESOLVER, Act.KILL_WORKER, Act.KILL_NATS)
    lonely: ClassVar[int] = 26
    """How many workers may run at once that have a pool to themselves: an SDK's takes long to start on two cores."""
    lease: ClassVar[float] = LEASE
    """Seconds, some more than a submission takes: who dies or is cut off five times before it has a job is poison."""
    drain_every: ClassVar[float] = 2.0
    """Seconds between two drains of a pool's workers, who have to start again meanwhile."""

    @asynccontextmanager
    async def mesh(self, directory: Path, pools: Sequence[str] = _SHARED) -> AsyncIterator[ChaosMesh]:
        """Run a mesh with one resolver, a worker for each of these pools, and the pipelines of all cases."""
        async with chaos_mesh(directory, pools, self.cloud, self.executor_type, ack_wait=self.lease) as mesh:
            script = mesh.folder.script
            after = {"uuid": "after", "command": script("true"), "upstream_blocks": ["work"]}
            flaky = {"uuid": "work", "command": script("[ $RUNMESH_ATTEMPT -gt 1 ]")}
            retry = {"retry_config": {"retries": 1, "delay": 0.5}}
            patient = f'until [ -e "{mesh.rules.hits}/$RUNMESH_RUN" ]; do sleep 0.1; done'
            mesh.folder.write_pipeline("steady", [{"uuid": "work", "command": script("sleep 0.3")}, after])
            mesh.folder.write_pipeline("patient", [{"uuid": "work", "command": script(patient)}, after])
            mesh.folder.write_pipeline("endless", [{"uuid": "work", "command": script("sleep 300")}, after])
            mesh.folder.write_pipeline("flaky", [flaky | retry, after])
            mesh.keep("resolver")
            for pool in pools:
                mesh.keep("worker", self.executor_type, RUNMESH_SLOTS="32", RUNMESH_POOL=pool)
            await working(mesh, len(pools), self.executor_type)
            yield mesh

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("act", self.acts)

    @pytest.mark.timeout(300)
    async def test_a_kill_at_any_point_loses_and_doubles_nothing(self, tmp_path: Path, act: Act) -> None:
        cases = [
            Case(point, act, before) for before in MOMENTS for point in Point if not (before and point in _NEVER_BEFORE)
        ]
        pools = [f"pool-{n}" for n in range(min(self.lonely, len(cases)))] if act is Act.KILL_WORKER else _SHARED
        async with self.mesh(tmp_path, pools) as mesh:
            live = self.one_after_another if act is Act.KILL_WORKER else self.at_once
            await self.judge(mesh, await live(mesh, cases, pools))

    async def at_once(self, mesh: ChaosMesh, cases: Sequence[Case], _: Sequence[str]) -> list[Case]:
        """Run all cases in the one pool that all workers share; return their runs."""
        runs = await asyncio.gather(*(self.reached(mesh, case) for case in cases))
        return [run for of_case in runs for run in of_case]

    async def one_after_another(self, mesh: ChaosMesh, cases: Sequence[Case], pools: Sequence[str]) -> list[Case]:
        """Run one case at a time in each pool: a worker that is killed at one point keeps no other from its own."""
        waiting, runs = deque(cases), list[Case]()

        async def take_turns(pool: str) -> None:
            while waiting:
                runs.extend(await self.reached(mesh, replace(waiting.popleft(), pool=pool)))

        await asyncio.gather(*map(take_turns, pools))
        return runs

    async def reached(self, mesh: ChaosMesh, case: Case) -> list[Case]:
        """Run a case until its point is reached: the kill at another one may have been in its way."""
        runs: list[Case] = []
        for again in range(_TRIES):
            runs.append(replace(case, again=again))
            try:
                await self.live(mesh, runs[-1])
            except AssertionError as error:
                told = _life((await facts_of(mesh))[runs[-1].run])
                raise AssertionError(f"{runs[-1].run}: {error}\n{told}\n{mesh.said()}") from error
            if mesh.rules.hit(runs[-1].run) is not None:
                return runs
        raise AssertionError(f"{case.name}: the point was never reached")

    async def live(self, mesh: ChaosMesh, case: Case) -> None:
        """Request a case's run, do what its point needs, and wait for its end."""
        mesh.rules.add(case.rule)
        pipeline, pool = _PIPELINES.get(case.point, "steady"), {self.executor_type: {"pool": case.pool}}
        request = {"id": case.run, "pipeline": pipeline, "executor_type": self.executor_type, "executor_config": pool}
        await ask(mesh.bus, "run", request)
        if case.point in (Point.DURING_CANCEL, Point.DURING_DRAIN):
            await self.submitted(mesh, case.run)
        if case.point is Point.DURING_CANCEL:
            await ask(mesh.bus, "cancel", {"run": case.run})
        if case.point is Point.DURING_DRAIN:
            # Whoever drains may die before it comes to this run: then the next one is asked to.
            await eventually(lambda: self.drained(mesh, case), within=WITHIN, every=self.drain_every)
        assert not await ended(mesh, [case.run], within=WITHIN), "it has not ended"

    async def submitted(self, mesh: ChaosMesh, run: str) -> None:
        """Wait until a run's task has a job."""
        subject = f"mesh.task.submitted.{self.executor_type}.*.shop.{run}.work"
        await eventually(lambda: mesh.bus.last(subjects.FACTS, subject), within=WITHIN, every=0.1)

    def drained(self, mesh: ChaosMesh, case: Case) -> bool:
        """Tell the workers of its pool to drain, unless the case's point was reached."""
        if mesh.rules.hit(case.run) is None:
            mesh.drain(case.pool)
        return mesh.rules.hit(case.run) is not None

    async def judge(self, mesh: ChaosMesh, cases: list[Case]) -> None:
        """Look at everything, when all has ended."""
        runs = [case.run for case in cases]
        found = await audit(mesh, runs, within=20)
        facts = found.facts
        assert not found.findings, "\n".join(
            [*found.findings, *(_life(facts[run]) for run in found.illegal), mesh.said()]
        )
        wrong = [_life(facts[case.run]) for case in cases if _last(facts[case.run]) is not case.end]
        assert not wrong, "\n".join(wrong)


def _last(facts: Sequence[Fact]) -> RunState:
    return [fact.state for fact in facts if isinstance(fact, RunFact)][-1]


def _life(facts: Sequence[Fact]) -> str:
    return " | ".join(_told(fact) for fact in facts)


def _told(fact: Fact) -> str:
    if isinstance(fact, RunFact):
        return f"RUN {fact.run} {fact.state} {fact.reason or ''}"
    about = f"{fact.block} {fact.attempt}.{fact.resubmission} n{fact.n} e{fact.epoch} {fact.state}"
    return about if fact.state is TaskState.COMPLETED else f"{about} {fact.cause or ''} {(fact.reason or '')[:80]}"

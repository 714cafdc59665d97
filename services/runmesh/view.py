"""What is known of a run, folded from its facts.

Facts have several publishers, so they may come in any order, and more than once. Every fact therefore says
by itself where it belongs: `attempt` and `resubmission` name the task, the state and `n` its place in that
task's life. `fold` depends on nothing else: the same facts give the same view, whatever their order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from runmesh.events import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    BlockStatus,
    Cause,
    RequestProblem,
    RunFact,
    RunState,
    TaskFact,
    TaskState,
)

Fact = RunFact | TaskFact
BlockState = TaskState | Literal["pending"]

_RUN_ORDER: Final = {
    RunState.ACCEPTED: 0,
    RunState.RUNNING: 1,
    RunState.FAILING: 2,
    RunState.CANCELLING: 3,
    **dict.fromkeys(FINAL_RUN_STATES, 4),
}
_TASK_ORDER: Final = {
    TaskState.QUEUED: 0,
    TaskState.SUBMITTED: 1,
    TaskState.RUNNING: 2,
    TaskState.COMPLETED: 3,
    TaskState.FAILED: 3,
    TaskState.RETRYING: 4,  # said of the attempt that failed
    TaskState.CANCELLED: 5,  # perhaps while it waited for its next attempt
    TaskState.UPSTREAM_FAILED: 5,
    TaskState.CONDITION_FAILED: 5,
}


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block: its latest task, and what the graph says of it."""

    name: str
    state: BlockState = "pending"
    executor_type: str | None = None
    upstream: tuple[str, ...] = ()
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    worker: str | None = None
    handle: str | None = None
    url: str | None = None
    exit_code: int | None = None
    cause: Cause | None = None
    reason: str | None = None
    log_tail: tuple[str, ...] = ()
    unconfirmed: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL_TASK_STATES

    def duration(self, now: datetime) -> float | None:
        """Seconds that the latest attempt ran, until now if it still does."""
        return _seconds(self.started_at, self.ended_at or (now if self.state == TaskState.RUNNING else None))


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, as far as its facts are known. `state` is None before the resolver has spoken."""

    run: str
    project: str | None = None
    pipeline: str | None = None
    state: RunState | None = None
    reason: str | None = None
    errors: tuple[RequestProblem, ...] = ()
    retry_of: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    blocks: Mapping[str, BlockView] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many blocks are in which state, counting those that only a total is known of."""

    @property
    def ended(self) -> bool:
        """Whether the run's terminal fact is known."""
        return self.state in FINAL_RUN_STATES

    @property
    def total(self) -> int:
        """How many blocks the run has."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many of them have ended."""
        return sum(count for state, count in self.counts.items() if state in FINAL_TASK_STATES)

    def duration(self, now: datetime) -> float | None:
        """Seconds from acceptance to the end, or until now."""
        return _seconds(self.started_at, self.ended_at or now)


def fold(run: str, facts: Iterable[Fact]) -> RunView:
    """Return what these facts say of the run. Order and copies don't matter; `late` facts change nothing."""
    history, of_tasks = _sorted_out(run, facts)
    if not history and not of_tasks:
        return RunView(run)
    last = _latest_of_run(history)
    blocks = {name: _block(name, history, last, of_tasks.get(name, [])) for name in _names(history, of_tasks)}
    return RunView(
        run=run,
        project=last.project if last else None,
        pipeline=last.pipeline if last else None,
        state=last.state if last else RunState.RUNNING,
        reason=last.reason if last else None,
        errors=(last.errors or ()) if last else (),
        retry_of=next((fact.retry_of for fact in history if fact.retry_of), None),
        started_at=next((fact.at for fact in history if fact.state == RunState.ACCEPTED), None),
        ended_at=last.at if last and last.state in FINAL_RUN_STATES else None,
        blocks=blocks,
        counts=_counts(history, last, blocks),
    )


def _sorted_out(run: str, facts: Iterable[Fact]) -> tuple[list[RunFact], dict[str, list[TaskFact]]]:
    """Return this run's facts, and of every block those of its latest task, each in its place."""
    of_run: dict[str, RunFact] = {}
    of_tasks: dict[str, list[TaskFact]] = {}
    for fact in facts:
        if fact.run != run:
            continue
        if isinstance(fact, RunFact):
            of_run[fact.ce_id] = min(fact, of_run.get(fact.ce_id, fact), key=_run_place)
        elif not fact.late:
            _keep_latest(of_tasks.setdefault(fact.block, []), fact)
    return sorted(of_run.values(), key=_run_place), {
        block: sorted(facts, key=_task_place) for block, facts in of_tasks.items()
    }


def _keep_latest(facts: list[TaskFact], fact: TaskFact) -> None:
    known = (facts[0].attempt, facts[0].resubmission) if facts else (0, 0)
    if (fact.attempt, fact.resubmission) > known:
        facts.clear()
    if (fact.attempt, fact.resubmission) >= known:
        facts.append(fact)


def _run_place(fact: RunFact) -> tuple[int, datetime, str]:
    return _RUN_ORDER[fact.state], fact.at, fact.state


def _task_place(fact: TaskFact) -> tuple[int, int, int, datetime, str]:
    return _TASK_ORDER[fact.state], fact.n, fact.epoch, fact.at, fact.state


def _latest_of_run(history: list[RunFact]) -> RunFact | None:
    """Return the first terminal fact, else the furthest one: terminal is final."""
    return next((fact for fact in history if fact.state in FINAL_RUN_STATES), history[-1] if history else None)


def _latest_of_task(facts: list[TaskFact]) -> TaskFact:
    """Return the fact that says how the task stands: its first end holds, unless a retry followed."""
    retried = any(fact.state is TaskState.RETRYING for fact in facts)
    return facts[-1] if retried else (_end_of(facts) or facts[-1])


def _end_of(facts: list[TaskFact]) -> TaskFact | None:
    return next((fact for fact in facts if fact.state in FINAL_TASK_STATES), None)


def _names(history: list[RunFact], of_tasks: Mapping[str, list[TaskFact]]) -> list[str]:
    """Name every block, in the plan's order where it is known."""
    planned = {name: None for fact in history for name in fact.blocks or ()}
    return [*planned, *sorted(of_tasks.keys() - planned.keys())]


def _block(name: str, history: list[RunFact], last: RunFact | None, facts: list[TaskFact]) -> BlockView:
    statuses = [fact.blocks[name] for fact in history if fact.blocks and name in fact.blocks]
    planned = statuses[0] if statuses else BlockStatus(state="pending")
    ended = (last.blocks or {}).get(name) if last and last.state in FINAL_RUN_STATES else None
    known = ended or (statuses[-1] if statuses else planned)
    base = BlockView(name, known.state, planned.executor_type, planned.upstream or (), known.attempts)
    return _with_task(base, facts, ended) if facts else base


def _with_task(base: BlockView, facts: list[TaskFact], ended: BlockStatus | None) -> BlockView:
    latest = _latest_of_task(facts)
    end = _end_of(facts)
    told = (latest, *([end] if end else []), *reversed(facts))
    return BlockView(
        name=base.name,
        state=ended.state if ended else latest.state,
        executor_type=latest.executor_type,
        upstream=base.upstream,
        attempt=latest.attempt,
        started_at=_began(facts),
        ended_at=end.at if end else None,
        due_at=latest.due_at,
        worker=_first(fact.worker for fact in told),
        handle=_first(fact.handle for fact in told),
        url=_first(fact.url for fact in told),
        exit_code=end.exit_code if end else None,
        cause=latest.cause or (end.cause if end else None),
        reason=_reason(latest, end) if ended is None or ended.state == latest.state else None,
        log_tail=(end.log_tail or ()) if end else (),
        unconfirmed=bool(end and end.unconfirmed),
    )


def _reason(latest: TaskFact, end: TaskFact | None) -> str | None:
    return latest.reason or (end.reason if end else None)


def _began(facts: list[TaskFact]) -> datetime | None:
    """Return when it was first seen running, else when it was submitted."""
    by_state = {fact.state: fact.at for fact in reversed(facts)}
    return by_state.get(TaskState.RUNNING) or by_state.get(TaskState.SUBMITTED)


def _counts(history: list[RunFact], last: RunFact | None, blocks: Mapping[str, BlockView]) -> dict[str, int]:
    """Count states; above 200 blocks the run's facts only say how many there are."""
    if last and last.state in FINAL_RUN_STATES and last.counts:
        return dict(last.counts)
    counts = Counter(str(block.state) for block in blocks.values())
    total = max((sum((fact.counts or {}).values()) for fact in history), default=0)
    if total > len(blocks):
        counts["pending"] += total - len(blocks)
    return dict(counts)


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, (end - start).total_seconds()) if start and end else None

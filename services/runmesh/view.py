"""What is known of a run, as plain values: `folding` makes them from facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from runmesh.events import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    Cause,
    RequestProblem,
    RunFact,
    RunState,
    TaskFact,
    TaskState,
)

Fact = RunFact | TaskFact
BlockState = TaskState | Literal["pending"]


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """The children of a block, counted: there may be ten thousand."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """How many are in which state. `pending` are those that were not dispatched, for whatever reason."""
    failed: tuple["BlockView", ...] = ()
    """The first few that failed."""

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many of them have ended."""
        return _ended(self.counts)


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
    children: ChildrenView | None = None
    """Its children, if it runs once per item of something above it."""
    steps: tuple["BlockView", ...] = ()
    """The tasks of their own that evaluate its conditions, or run its callbacks."""

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
        """How much there is to do: blocks, and in place of a block with children those."""
        return sum(self.counts.values()) + sum(_beyond_one(block) for block in self.blocks.values())

    @property
    def done(self) -> int:
        """How much of that has ended. With a block, all of its children have: also those that never began."""
        going = (block.children.done for block in self.blocks.values() if block.children and not block.ended)
        over = (_beyond_one(block) for block in self.blocks.values() if block.ended)
        return _ended(self.counts) + sum(going) + sum(over)

    def duration(self, now: datetime) -> float | None:
        """Seconds from acceptance to the end, or until now."""
        return _seconds(self.started_at, self.ended_at or now)


def _beyond_one(block: BlockView) -> int:
    return max(0, block.children.total - 1) if block.children else 0


def _ended(counts: Mapping[str, int]) -> int:
    return sum(count for state, count in counts.items() if state in FINAL_TASK_STATES)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, (end - start).total_seconds()) if start and end else None

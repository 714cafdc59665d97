"""What can happen to a run: the inputs of `advance`, besides the terminal fact of a task."""

from dataclasses import dataclass

from runmesh.events import TaskFact


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody asked to stop the run, or some of its blocks."""

    blocks: tuple[str, ...] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker has the task: it no longer waits in the queue."""

    block: str
    key: str


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The worker that had it let go of it before it began anything: it waits in the queue again."""

    block: str
    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """The executor types and pools that have a worker: what is queued for any other waits."""

    pools: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The run has its place among the runs of its pipeline: it may begin."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """As many runs of its pipeline as may are running: it waits, or is skipped."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The mesh itself can't go on with the run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


RunEvent = TaskFact | Cancel | Claimed | Unclaimed | Present | Admitted | NoRoom | Broken | Tick

"""What is kept of the facts of tasks, so that ten thousand children take a few megabytes.

Facts come in any order, and more than once. Of a block, those of its latest task are kept, each once. Of a child of a
dynamic block only the places of its latest and of its first final fact are, and why it failed: enough to know how it
stands, whatever comes next.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from typing import Final

from runmesh.events import FINAL_TASK_STATES, Cause, TaskFact, TaskState

Place = tuple[int, int, int, datetime, TaskState]
"""Where a fact belongs in the life of its task; the state last."""

_ORDER: Final = {
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
_OURS: Final = "runmesh-run: "
"""What the runtime itself writes last says less than the line before it."""
_LONGEST: Final = 200
_NOTHING: Final = (0, -1)


def _place(fact: TaskFact) -> Place:
    return _ORDER[fact.state], fact.n, fact.epoch, fact.at, fact.state


class TaskStory:
    """The facts of one block's latest task, each once."""

    def __init__(self) -> None:
        self._task = _NOTHING
        self._facts: dict[Place, TaskFact] = {}

    def add(self, fact: TaskFact) -> None:
        """Keep a fact, unless it is of an earlier task."""
        task = (fact.attempt, fact.resubmission)
        if task > self._task:
            self._task, self._facts = task, {}
        if task == self._task:
            self._facts.setdefault(_place(fact), fact)

    def facts(self) -> list[TaskFact]:
        """Return what is kept, each fact in its place."""
        return [self._facts[place] for place in sorted(self._facts)]


def latest_of(facts: Sequence[TaskFact]) -> TaskFact:
    """Return the fact that says how a task stands: its first end holds, unless a retry followed."""
    retried = any(fact.state is TaskState.RETRYING for fact in facts)
    return facts[-1] if retried else (end_of(facts) or facts[-1])


def end_of(facts: Sequence[TaskFact]) -> TaskFact | None:
    """Return the first end of a task."""
    return next((fact for fact in facts if fact.state in FINAL_TASK_STATES), None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a child failed, cut to a line each."""

    cause: Cause | None
    reason: str | None
    last_words: str | None


@dataclass(slots=True)
class ChildStory:
    """How one child stands."""

    task: tuple[int, int] = _NOTHING
    """Attempt and resubmission."""
    last: Place | None = None
    end: Place | None = None
    retried: bool = False
    failure: Failure | None = None
    """What its end says, if that is a failure."""

    @property
    def state(self) -> TaskState | None:
        """As `latest_of` has it."""
        place = self.last if self.retried else self.end or self.last
        return place[-1] if place else None

    def add(self, fact: TaskFact) -> None:
        """Take a fact, unless it is of an earlier task."""
        task = (fact.attempt, fact.resubmission)
        if task < self.task:
            return
        if task > self.task:
            self.task, self.last, self.end, self.retried, self.failure = task, None, None, False, None
        place = _place(fact)
        if self.last is None or place > self.last:
            self.last = place
        if fact.state is TaskState.RETRYING:
            self.retried = True
        elif fact.state in FINAL_TASK_STATES and (self.end is None or place < self.end):
            self.end, self.failure = place, _failure(fact)


class ChildrenStory:
    """How all children of one block stand, as far as there are facts about them."""

    def __init__(self) -> None:
        self._children: dict[str, ChildStory] = {}
        self._failed: dict[str, ChildStory] = {}
        self.counts: Counter[str] = Counter()
        """How many are in which state."""

    def __len__(self) -> int:
        return len(self._children)

    def add(self, fact: TaskFact) -> None:
        """Take a fact about one child."""
        child = self._children.setdefault(fact.block, ChildStory())
        before = child.state
        child.add(fact)
        if before == child.state:
            return
        self._count(child.state, 1)
        self._count(before, -1)
        if child.state is TaskState.FAILED:
            self._failed[fact.block] = child
        else:
            self._failed.pop(fact.block, None)

    def _count(self, state: TaskState | None, change: int) -> None:
        if state is not None:
            self.counts[str(state)] += change
            if not self.counts[str(state)]:
                del self.counts[str(state)]

    def failed(self, most: int) -> Iterator[tuple[str, int, Failure]]:
        """Yield the first failed children by their index or name: name, attempt, and why."""
        for name in nsmallest(most, self._failed, key=_by_index):
            child = self._failed[name]
            if child.failure:
                yield name, child.task[0], child.failure


def _by_index(name: str) -> tuple[float, str]:
    own = name.rpartition(":")[2]
    return (int(own) if own.isdecimal() else float("inf"), name)


def _failure(fact: TaskFact) -> Failure | None:
    if fact.state is not TaskState.FAILED:
        return None
    return Failure(fact.cause, _line(fact.reason), _line(last_words(fact.log_tail)))


def _line(text: str | None) -> str | None:
    lines = (text or "").strip().splitlines()
    return lines[0][:_LONGEST] if lines else None


def last_words(log_tail: Sequence[str] | None) -> str | None:
    """Return the last line that the block itself wrote, which mostly says why it failed."""
    lines = (line.strip() for line in reversed(log_tail or ()))
    return next((line for line in lines if line and not line.startswith(_OURS)), None)

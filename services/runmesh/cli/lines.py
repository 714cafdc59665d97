"""Changes of a run as lines, for where there is no terminal: only those that say something new."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from runmesh.cli.output import GLYPHS
from runmesh.cli.tree import tally
from runmesh.events import FINAL_TASK_STATES, RunFact, TaskFact, TaskState
from runmesh.folding import Folding, apart
from runmesh.story import last_words
from runmesh.subjects import CALLBACK, CONDITION
from runmesh.view import Fact

_MOST: Final = 20
"""Of one block's children, so many failures get a line each."""
_PARTS: Final = 10
"""How often a line says how far the children of a block are."""
_STEPS: Final = {CONDITION: "conditions of ", CALLBACK: "callbacks of "}


class Lines:
    """Writes one run's changes, as they are folded."""

    def __init__(self, folding: Folding) -> None:
        self._folding = folding
        self._failures: Counter[str] = Counter()
        self._parts: Counter[str] = Counter()

    def of(self, fact: Fact) -> Iterator[str]:
        """Yield what there is to say of a fact that was just folded."""
        parent = self._folding.parent_of(fact.block) if isinstance(fact, TaskFact) else None
        if parent and isinstance(fact, TaskFact):
            yield from self._of_child(parent, fact)
        elif _tells(fact):
            yield line(fact)

    def _of_child(self, parent: str, fact: TaskFact) -> Iterator[str]:
        if fact.state in (TaskState.FAILED, TaskState.RETRYING):
            self._failures[parent] += 1
            if self._failures[parent] <= _MOST:
                yield line(fact)
            elif self._failures[parent] == _MOST + 1:
                yield f"{_start(fact, TaskState.FAILED)} more children of {label(parent)}: counted from here on"
        if fact.state in FINAL_TASK_STATES:
            yield from self._progress(parent, fact)

    def _progress(self, parent: str, fact: TaskFact) -> Iterator[str]:
        block = self._folding.block(parent)
        if block.ended or not block.children:
            return
        part = block.children.done * _PARTS // max(1, block.children.total)
        if self._parts[parent] < part < _PARTS:
            self._parts[parent] = part
            counted = " · ".join(words for words, _ in tally(block))
            yield f"{_start(fact, TaskState.RUNNING)} {label(parent)}: {counted}"


def line(fact: Fact) -> str:
    """Write one change as one line."""
    start = _start(fact, fact.state)
    if isinstance(fact, RunFact):
        return f"{start} run {fact.run} of {fact.pipeline}{_because(fact.reason)}"
    attempt = f" (try {fact.attempt})" if fact.attempt > 1 else ""
    late = ", after its task had ended" if fact.late else ""
    return f"{start} {label(fact.block)} on {fact.executor_type}{attempt}{late}{_because(_why(fact))}"


def label(name: str) -> str:
    """Say in words whose conditions or callbacks a task is about."""
    step, base = apart(name)
    return _STEPS.get(step, "") + base


def _start(fact: Fact, state: str) -> str:
    return f"{fact.at.astimezone():%H:%M:%S}  {GLYPHS[state][0]} {state:<16}"


def _tells(fact: Fact) -> bool:
    """Leave out the steps that every task takes: it is enough to see it run, or why it does not."""
    return fact.state not in (TaskState.QUEUED, TaskState.SUBMITTED) or bool(fact.reason)


def _why(fact: TaskFact) -> str | None:
    match fact.state:
        case TaskState.FAILED:
            reason, last = fact.reason or "", last_words(fact.log_tail) or ""
            return ": ".join(filter(None, (fact.cause, reason, last if last not in reason else "")))
        case TaskState.RETRYING if fact.due_at:
            return f"again in {max(0.0, (fact.due_at - fact.at).total_seconds()):.0f} s"
        case TaskState.RUNNING if fact.children is not None:
            return f"{fact.children:,} children"
    return fact.reason


def _because(reason: str | None) -> str:
    return f": {' '.join(reason.split())[:300]}" if reason else ""

"""Whether the facts of one run, in the order in which they are stored, are a life that the state machine allows (pure).

The rules are DESIGN §2 and §5, written down a second time: nothing of the resolver's own code is used here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Final

from runmesh.events import FINAL_RUN_STATES, FINAL_TASK_STATES, RunFact, RunState, TaskFact, TaskState

Fact = RunFact | TaskFact

_RUN_ORDER: Final = {
    RunState.ACCEPTED: 0,
    RunState.RUNNING: 1,
    RunState.FAILING: 2,
    RunState.CANCELLING: 2,
} | dict.fromkeys(FINAL_RUN_STATES, 3)
_TASK_ORDER: Final = {
    TaskState.QUEUED: 0,
    TaskState.SUBMITTED: 1,
    TaskState.RUNNING: 2,
    TaskState.RETRYING: 4,
} | dict.fromkeys(FINAL_TASK_STATES, 3)
_ON_THE_WAY: Final = frozenset({TaskState.SUBMITTED, TaskState.RUNNING})
_ALONE: Final = frozenset({RunState.REJECTED, RunState.CANCELLED})
"""How a run may end that never was accepted."""


def problems(facts: Sequence[Fact]) -> list[str]:
    """Return what is wrong with a run's facts; nothing, if the run has ended and all was as it should be."""
    stale = set(map(id, stale_words(facts)))
    told = [fact for fact in facts if id(fact) not in stale]
    of_run = [fact for fact in told if isinstance(fact, RunFact)]
    of_tasks = [fact for fact in told if isinstance(fact, TaskFact) and not fact.late and not _remarks(fact)]
    return [*_run(of_run), *_tasks(of_tasks), *_after_the_end(told)]


def in_order(facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts as whoever goes by `attempt`, `resubmission` and `n` reads them.

    Where streams have leaders of their own, what the resolver says of a task may be stored behind a worker's words.
    """
    of_block: dict[str, list[TaskFact]] = {}
    for fact in facts:
        if isinstance(fact, TaskFact):
            of_block.setdefault(fact.block, []).append(fact)
    read = {
        block: iter(sorted(told, key=lambda fact: (fact.attempt, fact.resubmission, fact.n)))
        for block, told in of_block.items()
    }
    return [next(read[fact.block]) if isinstance(fact, TaskFact) else fact for fact in facts]


def stale_words(facts: Sequence[Fact]) -> list[TaskFact]:
    """Return the facts on the way, one for each owner at most, that an owner tells after the next one has spoken.

    Whoever was stopped with a fact half sent sends it when it wakes. Only its state says that it is none of the end:
    a terminal fact is never stale, since its claim is certain before it is told.
    """
    latest: dict[str, int] = {}
    found: dict[tuple[str, int], TaskFact] = {}
    for fact in facts:
        if not isinstance(fact, TaskFact) or fact.late:
            continue
        if fact.epoch < latest.get(fact.key, 0) and fact.state in _ON_THE_WAY:
            found.setdefault((fact.key, fact.epoch), fact)
        latest[fact.key] = max(fact.epoch, latest.get(fact.key, 0))
    return list(found.values())


def _run(facts: Sequence[RunFact]) -> Iterator[str]:
    states = [fact.state for fact in facts]
    ends = [state for state in states if state in FINAL_RUN_STATES]
    if len(ends) != 1:
        yield f"{len(ends)} terminal facts of the run: {', '.join(states) or 'no fact at all'}"
    for state, count in Counter(states).items():
        if count > 1:
            yield f"the run is {state} {count} times"
    if states and states[0] is not RunState.ACCEPTED and not (len(states) == 1 and states[0] in _ALONE):
        yield f"the run begins as {states[0]}"
    for before, after in pairwise(states):
        if _RUN_ORDER[after] <= _RUN_ORDER[before]:
            yield f"the run is {after} after it was {before}"


def _tasks(facts: Sequence[TaskFact]) -> Iterator[str]:
    for block, told in groupby(sorted(facts, key=lambda fact: fact.block), key=lambda fact: fact.block):
        of_block = list(told)  # still in the order of the stream: the sort is stable
        for key in dict.fromkeys(fact.key for fact in of_block):
            yield from _submission([fact for fact in of_block if fact.key == key])
        for before, after in pairwise(of_block):
            if (after.attempt, after.resubmission) < (before.attempt, before.resubmission):
                yield f"{_name(after)} is {after.state} after {_name(before)} was {before.state}"
        completed = [fact for fact in of_block if fact.state is TaskState.COMPLETED]
        if len(completed) > 1:
            yield f"{block} completed {len(completed)} times"


def _submission(facts: Sequence[TaskFact]) -> Iterator[str]:
    name = _name(facts[0])
    ends = [fact.state for fact in facts if fact.state in FINAL_TASK_STATES]
    if len(ends) != 1:
        yield f"{name} has {len(ends)} terminal facts: {', '.join(fact.state for fact in facts)}"
    for before, after in pairwise(facts):
        if after.n <= before.n:
            yield f"{name}: {after.state} {after.n} is stored after {before.state} {before.n}"
        if after.epoch < before.epoch and after.state is not TaskState.RETRYING:
            yield f"{name}: owner {after.epoch} speaks after owner {before.epoch}"
        if _TASK_ORDER[after.state] <= _TASK_ORDER[before.state] and not _again(before, after):
            yield f"{name} is {after.state} after it was {before.state}"


def _again(before: TaskFact, after: TaskFact) -> bool:
    """Say whether the next owner tells what the one before had told, but not lived to record."""
    return after.state is before.state and after.epoch > before.epoch and after.state not in FINAL_TASK_STATES


def _remarks(fact: TaskFact) -> bool:
    """Say whether a fact only adds that a queued task waits for a worker: a remark, which no order binds."""
    return fact.state is TaskState.QUEUED and fact.n > 0


def _after_the_end(facts: Sequence[Fact]) -> Iterator[str]:
    ended = False
    for fact in facts:
        if ended and isinstance(fact, TaskFact) and not fact.late:
            yield f"{_name(fact)} is {fact.state} after the run has ended"
        ended = ended or (isinstance(fact, RunFact) and fact.state in FINAL_RUN_STATES)


def _name(fact: TaskFact) -> str:
    return f"{fact.block} {fact.attempt}.{fact.resubmission}"

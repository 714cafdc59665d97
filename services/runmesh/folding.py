"""A run as its facts tell it, one fact after another.

Facts have several publishers, so they may come in any order, and more than once. Every fact therefore says
by itself where it belongs: `attempt` and `resubmission` name the task, the state and `n` its place in that
task's life. A view depends on nothing else: the same facts give the same view, whatever their order.

Three kinds of tasks are no blocks of their own. A child `C:3` counts for its block C. Before a block, `_condition:B`
evaluates its conditions; after it, `_callback:B` runs its callbacks (`_callback:C:3` those of a child).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from runmesh import filters
from runmesh.events import FINAL_RUN_STATES, BlockStatus, RunFact, RunState, TaskFact, TaskState
from runmesh.story import ChildrenStory, Failure, TaskStory, end_of, latest_of
from runmesh.subjects import CALLBACK, CONDITION
from runmesh.view import BlockState, BlockView, ChildrenView, Fact, RunView

_FEW: Final = 3
"""Of the children that failed, so many are named."""
_STEPS: Final = (CONDITION, CALLBACK)
_BEGINNINGS: Final = (TaskState.QUEUED, TaskState.SUBMITTED, TaskState.RUNNING)
_ORDER: Final = {
    RunState.ACCEPTED: 0,
    RunState.RUNNING: 1,
    RunState.FAILING: 2,
    RunState.CANCELLING: 3,
    **dict.fromkeys(FINAL_RUN_STATES, 4),
}


def fold(run: str, facts: Iterable[Fact]) -> RunView:
    """Return what these facts say of the run. Order and copies don't matter; `late` facts change nothing."""
    folding = Folding(run)
    for fact in facts:
        folding.add(fact)
    return folding.view()


class Folding:
    """What is kept of one run's facts."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.taken = 0
        """How many facts there were."""
        self._of_run: dict[str, RunFact] = {}
        self._tasks: dict[str, TaskStory] = {}
        self._children: dict[str, ChildrenStory] = {}
        self._planned: frozenset[str] | None = None
        """The blocks that the run's own facts name: none if they are too many, None while there is no such fact."""

    def add(self, fact: Fact) -> None:
        """Take a fact. Those of other runs, and those that came `late`, change nothing."""
        if fact.run != self.run:
            return
        self.taken += 1
        if isinstance(fact, RunFact):
            self._of_run[fact.ce_id] = min(fact, self._of_run.get(fact.ce_id, fact), key=_place)
            self._learn(fact)
        elif not fact.late:
            self._add_task(fact)

    def _add_task(self, fact: TaskFact) -> None:
        if parent := self.parent_of(fact.block):
            self._children.setdefault(parent, ChildrenStory()).add(fact)
        else:
            self._tasks.setdefault(fact.block, TaskStory()).add(fact)

    def _learn(self, fact: RunFact) -> None:
        """Learn which blocks there are: what was kept whole until then may be about children."""
        if fact.blocks is None and fact.state is not RunState.ACCEPTED:
            return
        self._planned = (self._planned or frozenset()) | (fact.blocks or {}).keys()
        for name in [name for name in self._tasks if self.parent_of(name)]:
            for kept in self._tasks.pop(name).facts():
                self._add_task(kept)

    def parent_of(self, name: str) -> str | None:
        """Return what a task is a child of: a block, or the callbacks of a block. None if it is no child."""
        step, base = apart(name)
        block, colon, _ = base.partition(":")
        if not colon or self._planned is None or base in self._planned:
            return None
        return step + block if block in self._planned or not self._planned else None

    def view(self) -> RunView:
        """Return what the facts so far say."""
        if not (self._of_run or self._tasks or self._children):
            return RunView(self.run)
        history = self._history()
        last = _latest(history)
        blocks = {name: self._block(name, history) for name in self._names(history)}
        return RunView(
            run=self.run,
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

    def block(self, name: str) -> BlockView:
        """Return what they say of one block."""
        return self._block(name, self._history())

    def _history(self) -> list[RunFact]:
        return sorted(self._of_run.values(), key=_place)

    def _names(self, history: Sequence[RunFact]) -> list[str]:
        """Name every block, in the plan's order where it is known."""
        planned = {apart(name)[1]: None for fact in history for name in fact.blocks or ()}
        told = {apart(name)[1] for name in (*self._tasks, *self._children)}
        return [*planned, *sorted(told - planned.keys())]

    def _block(self, name: str, history: Sequence[RunFact]) -> BlockView:
        steps = tuple(self._task(step + name, history) for step in _STEPS if self._knows(step + name))
        return replace(self._task(name, history), steps=steps)

    def _knows(self, name: str) -> bool:
        return name in self._tasks or name in self._children or name in (self._planned or ())

    def _task(self, name: str, history: Sequence[RunFact]) -> BlockView:
        statuses = {fact.state: fact.blocks[name] for fact in history if fact.blocks and name in fact.blocks}
        last = _latest(history)
        ended = statuses.get(last.state) if last and last.state in FINAL_RUN_STATES else None
        facts = self._tasks[name].facts() if name in self._tasks else []
        view = _with_task(_planned(name, statuses, ended), facts, ended) if facts else _planned(name, statuses, ended)
        children = self._children_of(name, facts, statuses, ended)
        return replace(view, children=children, state=_state(view.state, children)) if children else view

    def _children_of(
        self,
        name: str,
        facts: Sequence[TaskFact],
        statuses: Mapping[RunState, BlockStatus],
        ended: BlockStatus | None,
    ) -> ChildrenView | None:
        """Count the children: from their facts, and from what the resolver says of all of them."""
        story = self._children.get(name)
        told = {state: status.children for state, status in statuses.items() if status.children is not None}
        sizes = [fact.children for fact in facts if fact.children is not None]
        if story is None and not told and not sizes:
            return None
        failed = tuple(_failed(*each) for each in story.failed(_FEW)) if story else ()
        if ended and ended.children is not None:
            return ChildrenView(ended.children, failed)
        # Those that a retry carries over: at its beginning no other child can have completed.
        counts = Counter(story.counts if story else {}) + Counter(completed=_completed(told.get(RunState.ACCEPTED)))
        total = max([*sizes, *(sum(each.values()) for each in told.values())], default=0)
        return ChildrenView(dict(counts + Counter(pending=max(0, total - counts.total()))), failed)


def enough(outline: RunView) -> list[str]:
    """Name the subjects to read of an ended run that has children: how those began no longer matters. Else none.

    `outline` is folded from the run's own facts.
    """
    if not outline.ended or not any(block.children for block in outline.blocks.values()):
        return []
    blocks = outline.blocks.values()
    names = [name for block in blocks for name in (f"{CALLBACK}{block.name}", *(step.name for step in block.steps))]
    began = [(name, state) for name in (*outline.blocks, *names) for state in _BEGINNINGS]
    ends = [state for state in TaskState if state not in _BEGINNINGS]
    return [
        *(filters.facts_of_tasks(outline.run, name, state) for name, state in dict.fromkeys(began)),
        *(filters.facts_of_tasks(outline.run, state=state) for state in ends),
    ]


def apart(name: str) -> tuple[str, str]:
    """Take the name of a task apart: what it does beside its block's own code (else empty), and whose it is."""
    step = next((step for step in _STEPS if name.startswith(step)), "")
    return step, name.removeprefix(step)


def _place(fact: RunFact) -> tuple[int, datetime, str]:
    return _ORDER[fact.state], fact.at, fact.state


def _latest(history: Sequence[RunFact]) -> RunFact | None:
    """Return the first terminal fact, else the furthest one: terminal is final."""
    return next((fact for fact in history if fact.state in FINAL_RUN_STATES), history[-1] if history else None)


def _planned(name: str, statuses: Mapping[RunState, BlockStatus], ended: BlockStatus | None) -> BlockView:
    """Return what the run's own facts say of a task."""
    if not statuses:
        return BlockView(name)
    first, *_, last = (*statuses.values(), *statuses.values())
    known = ended or last
    upstream = tuple(above for above in first.upstream or () if not above.startswith(CONDITION))
    return BlockView(name, known.state, first.executor_type, upstream, known.attempts)


def _with_task(base: BlockView, facts: Sequence[TaskFact], ended: BlockStatus | None) -> BlockView:
    latest, end = latest_of(facts), end_of(facts)
    told = (latest, *([end] if end else []), *reversed(facts))
    return replace(
        base,
        state=ended.state if ended else latest.state,
        executor_type=latest.executor_type,
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


def _began(facts: Sequence[TaskFact]) -> datetime | None:
    """Return when it was first seen running, else when it was submitted."""
    by_state = {fact.state: fact.at for fact in reversed(facts)}
    return by_state.get(TaskState.RUNNING) or by_state.get(TaskState.SUBMITTED)


def _completed(counts: Mapping[str, int] | None) -> int:
    return (counts or {}).get(TaskState.COMPLETED, 0)


def _state(state: BlockState, children: ChildrenView) -> BlockState:
    """Say how all children stand together, where no fact does."""
    if state != "pending" or children.counts.get("pending") == children.total:
        return state
    if children.done < children.total:
        return TaskState.RUNNING
    return TaskState.FAILED if children.counts.get(TaskState.FAILED) else TaskState.COMPLETED


def _failed(name: str, attempt: int, why: Failure) -> BlockView:
    log_tail = (why.last_words,) if why.last_words else ()
    return BlockView(name, TaskState.FAILED, attempt=attempt, cause=why.cause, reason=why.reason, log_tail=log_tail)


def _counts(history: Sequence[RunFact], last: RunFact | None, blocks: Mapping[str, BlockView]) -> dict[str, int]:
    """Count the blocks' states; above 200 blocks the run's facts only say how many there are."""
    counts = Counter(str(block.state) for block in blocks.values())
    if any(fact.blocks for fact in history):
        return dict(counts)
    if last and last.state in FINAL_RUN_STATES and last.counts:
        return dict(last.counts)
    total = max((sum((fact.counts or {}).values()) for fact in history), default=0)
    return dict(counts + Counter(pending=max(0, total - len(blocks))))


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)

"""Where a run stands: one small document, changed only by compare-and-swap.

The state is also the outbox. Whatever a change obliges us to publish is written into the same document
as a `Debt`, so that a resolver which dies between the two leaves a note for the next one.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from runmesh.events import FINAL_RUN_STATES, FINAL_TASK_STATES, Cause, RequestProblem, RunState, TaskState
from runmesh.resolver.document import Document
from runmesh.resolver.fan import Fan, Items, members


class TaskRecord(Document):
    """How far one task is; a task without a record is pending: not ready, or not dispatched yet."""

    state: TaskState
    attempt: int = 1
    resubmission: int = 0
    spent: int = 0
    """How much of the infrastructure budget is used up."""
    since: datetime | None = None
    """When it was queued."""
    due_at: datetime | None = None
    """When a retrying task is dispatched again."""
    claimed: bool = False
    """A worker is known to have taken it: `queue_timeout` is over for this submission."""
    waiting: bool = False
    """It was said that there is no worker for it."""
    cause: Cause | None = None
    index: int | None = None
    """Which child of its block it is."""
    callback: Literal["failure", "cancelled"] | None = None
    """The callbacks that it runs, where it is a callback task; `reason` is what they are told."""
    reason: str | None = None

    @property
    def final(self) -> bool:
        """No more changes."""
        return self.state in FINAL_TASK_STATES


class Debt(Document):
    """One thing that is owed to the world until its PubAck came."""

    kind: Literal["run", "task", "execute", "stop"]
    at: datetime
    run_state: RunState | None = None
    block: str = ""
    state: TaskState | None = None
    attempt: int = 1
    resubmission: int = 0
    n: int = 0
    cause: Cause | None = None
    reason: str | None = None
    due_at: datetime | None = None
    children: int | None = None
    """How many children the block has."""


class State(Document):
    """A run's state; `revision` of the entry that holds it is the compare-and-swap token."""

    run: str
    project: str
    pipeline: str = ""
    state: RunState
    digest: str = ""
    """Of the request: tells the same request again from another one under the same id."""
    reason: str | None = None
    admitted: bool = True
    """False while it waits for its place among the runs of its pipeline (see `limits`): nothing is dispatched."""
    created_at: datetime
    deadline: datetime | None = None
    """When the run's own timeout ends."""
    ended_at: datetime | None = None
    tasks: dict[str, TaskRecord] = Field(default_factory=dict)
    fans: dict[str, Fan] = Field(default_factory=dict)
    """The children of every block that has such."""
    items: dict[str, Items] = Field(default_factory=dict)
    """What dynamic blocks, or each of their own children, returned."""
    stopping: tuple[str, ...] | Literal["all"] = ()
    """The blocks whose dispatched tasks were told to stop."""
    outbox: tuple[Debt, ...] = ()
    errors: tuple[RequestProblem, ...] = ()
    """Of a rejected request."""
    retry_of: str | None = None
    trace: dict[str, str] = Field(default_factory=dict)
    """Of the request, where there is no plan to hold it."""

    @property
    def final(self) -> bool:
        """The run has ended."""
        return self.state in FINAL_RUN_STATES

    def owing(self, debts: tuple[Debt, ...]) -> "State":
        """Return the state that owes nothing but these debts."""
        return self.model_copy(update={"outbox": debts})

    def out(self) -> Mapping[str, TaskRecord]:
        """Return the tasks that were dispatched and have not been reported back."""
        return {block: record for block, record in self.tasks.items() if record.state is TaskState.QUEUED}


def submitted(state: State) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every task that was ever dispatched, with its last attempt and resubmission."""
    for name, record in state.tasks.items():
        yield name, (record.attempt, record.resubmission)
    for block, fan in state.fans.items():
        for index in members(fan.begun):
            yield fan.name(block, index, state.items), fan.tries.get(index, (1, 0))


def taken(state: State, project: str) -> str:
    """Say why a request of a project can't have this run's id."""
    why = "was requested before, with another body" if state.project == project else "is of another project"
    return f"run {state.run!r} {why}"

"""Where a run stands: one small document, changed only by compare-and-swap.

The state is also the outbox. Whatever a change obliges us to publish is written into the same document
as a `Debt`, so that a resolver which dies between the two leaves a note for the next one.
"""

import zlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from runmesh.events import FINAL_RUN_STATES, FINAL_TASK_STATES, Cause, RequestProblem, RunState, TaskState

_COMPRESS_ABOVE: Final = 2048


class Document(BaseModel):
    """A frozen document in the `runs` bucket, compressed where that pays."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """Return the stored form: JSON without defaults, compressed if it is long."""
        text = self.__pydantic_serializer__.to_json(self, exclude_defaults=True)
        return zlib.compress(text, 1) if len(text) > _COMPRESS_ABOVE else text

    @classmethod
    def decode(cls, stored: bytes) -> Self:
        """Read the stored form. Raises ValueError when it is none."""
        text = stored if stored.startswith(b"{") else zlib.decompress(stored)
        return cls.model_validate_json(text)


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

    def __hash__(self) -> int:
        """Hash what mostly tells debts apart: cheaper than all fields, which pydantic would take."""
        return hash((self.kind, self.block, self.run_state, self.state, self.attempt, self.n))


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

    def without(self, paid: Collection[Debt]) -> "State":
        """Return the state that owes these debts no more."""
        return self.model_copy(update={"outbox": tuple(debt for debt in self.outbox if debt not in paid)})

    def out(self) -> Mapping[str, TaskRecord]:
        """Return the tasks that were dispatched and have not been reported back."""
        return {block: record for block, record in self.tasks.items() if record.state is TaskState.QUEUED}

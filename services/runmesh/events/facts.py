"""What the services tell: the resolver's command to the executors, and what became of runs and tasks."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from runmesh.events.base import Event, RunId
from runmesh.events.states import Cause, RunState, TaskState

OUTCOME: Final = "RUNMESH_OUTCOME"
"""The variable of a task's environment that says where its job leaves its outcome: a path, or a URL for fsspec."""
ATTEMPT: Final = "Runmesh-Attempt"
RESUBMISSION: Final = "Runmesh-Resubmission"
"""Headers of a command: what its failure says of it when its body can't be read."""


class ExecuteTask(Event):
    """Please run this task; the resolver has decided everything."""

    type_name = "task.execute"

    run: RunId
    block: str
    attempt: int
    resubmission: int = 0
    key: str
    project: str
    revision: str
    pipeline: str
    executor_type: str
    pool: str
    config: dict[str, Any]
    command: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    timeout: float | None = None
    start_timeout: float
    labels: dict[str, str] = Field(default_factory=dict)
    needs_outcome: bool = Field(default=False, description="Without an outcome that can be read it has failed.")
    callback: bool = Field(default=False, description="It runs although its run is being stopped.")


class TaskFact(Event):
    """What happened to a task."""

    run: RunId
    block: str
    attempt: int
    resubmission: int = 0
    key: str
    state: TaskState
    n: int = Field(description="Counts up per task: orders the facts of one task.")
    epoch: int = Field(0, description="Which owner of the task reports: counts its take-overs.")
    executor_type: str
    pool: str
    worker: str | None = None
    handle: str | None = Field(None, description="The whole address of the job on its platform.")
    url: str | None = Field(None, description="Where a person can look at the job.")
    exit_code: int | None = None
    cause: Cause | None = None
    reason: str | None = None
    log_tail: tuple[str, ...] | None = None
    outcome: dict[str, Any] | None = None
    children: int | None = Field(None, description="How many children it has, where it is a block with children.")
    due_at: datetime | None = Field(None, description="When a retrying task is tried again.")
    unconfirmed: bool | None = Field(None, description="It could not be confirmed that the job is gone.")
    handed_back: bool | None = Field(None, description="Stopped by a draining worker: no budget is spent.")
    late: bool | None = Field(None, description="Came after the terminal fact, and changed nothing.")
    at: datetime

    @property
    def ce_type(self) -> str:
        """``dev.runmesh.task.<state>.v1``"""
        return self.type_of(f"task.{self.state}")

    @property
    def ce_id(self) -> str:
        """The same for a fact that is published again."""
        return f"{self.key}.{self.state}.{self.n}"


class BlockStatus(BaseModel):
    """One block in a run fact."""

    model_config = ConfigDict(frozen=True)

    state: TaskState | Literal["pending"]
    attempts: int = 0
    executor_type: str | None = Field(None, description="Only in `accepted`, as is `upstream`: they never change.")
    upstream: tuple[str, ...] | None = None
    children: dict[str, int] | None = Field(None, description="How many of its children are in which state.")


class RequestProblem(BaseModel):
    """One thing that is wrong with a request: where, what, and what to write instead."""

    model_config = ConfigDict(frozen=True)

    path: str
    message: str
    hint: str | None = None


class RunFact(Event):
    """What happened to a run."""

    run: RunId
    project: str
    pipeline: str
    state: RunState
    reason: str | None = None
    errors: tuple[RequestProblem, ...] | None = Field(None, description="For `rejected`: all that is wrong.")
    blocks: dict[str, BlockStatus] | None = Field(None, description="Left out above 200 blocks: see `counts`.")
    counts: dict[str, int] | None = Field(None, description="How many blocks are in which state.")
    retry_of: RunId | None = None
    at: datetime

    @property
    def ce_type(self) -> str:
        """``dev.runmesh.run.<state>.v1``"""
        return self.type_of(f"run.{self.state}")

    @property
    def ce_id(self) -> str:
        """The same for a fact that is published again."""
        return f"{self.run}.{self.state}"


class LogLines(Event):
    """Lines that a task wrote, in order."""

    type_name = "task.log"

    run: RunId
    block: str
    attempt: int
    resubmission: int = 0
    stream: Literal["stdout", "stderr"]
    first: int = Field(description="The number of the first line here, from 1, per stream.")
    lines: tuple[str, ...]
    at: datetime


class DeadLetter(Event):
    """A message that could not be handled, whole, with the reason."""

    type_name = "dead"

    subject: str
    reason: str
    error: str
    headers: dict[str, str]
    body: str
    encoding: Literal["utf-8", "base64", "zlib+base64"] = "utf-8"
    truncated: bool | None = Field(None, description="The body was too large to be kept whole.")
    deliveries: int
    at: datetime

"""Every event on the wire, as frozen models; `schemas/` is generated from them.

Commands come from outside: they are strict, and a field they don't know is an error with the nearest
known name. Facts are read by programs that may be older than their writers: unknown fields are ignored.
Times are UTC; durations are seconds.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, NewType

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainValidator

OUTCOME: Final = "RUNMESH_OUTCOME"
"""The variable of a task's environment that says where its job leaves its outcome: a path, or a URL for fsspec."""
ATTEMPT: Final = "Runmesh-Attempt"
RESUBMISSION: Final = "Runmesh-Resubmission"
"""Headers of a command: what its failure says of it when its body can't be read."""
VERSION: Final = "v1"
TYPE_PREFIX: Final = "dev.runmesh."
LONGEST: Final = 10 * 366 * 86_400
"""Seconds: ten years. A calendar ends, so no time may be any longer."""

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Seconds = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Partition = Annotated[str, Field(pattern=r"^[A-Za-z0-9_=:+-][A-Za-z0-9_.=:+/-]{0,199}$")]


Handle = NewType("Handle", str)
"""The whole address of a job on its platform: whoever holds it needs nothing else to find the job."""


class RunState(StrEnum):
    """The states of a run, in Mage's words."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    FAILING = "failing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class TaskState(StrEnum):
    """The states of a task, in Mage's words."""

    QUEUED = "queued"
    SUBMITTED = "submitted"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UPSTREAM_FAILED = "upstream_failed"
    CONDITION_FAILED = "condition_failed"


class Cause(StrEnum):
    """Why a task failed, since what happens next depends on it (DESIGN §2)."""

    USER = "user"
    TIMEOUT = "timeout"
    CONFIG = "config"
    CAPACITY = "capacity"
    INFRASTRUCTURE = "infrastructure"
    LOST = "lost"
    UNVERIFIED = "unverified"
    CANCELLED = "cancelled"


FINAL_RUN_STATES: Final = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.REJECTED})
FINAL_TASK_STATES: Final = frozenset(
    {
        TaskState.COMPLETED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.UPSTREAM_FAILED,
        TaskState.CONDITION_FAILED,
    }
)
REPORTED_TASK_STATES: Final = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.CONDITION_FAILED}
)
"""The ends that a worker reports; the resolver derives the others."""


class Event(BaseModel):
    """What every event has: a frozen body, and a versioned CloudEvents type."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type_name: ClassVar[str]

    @classmethod
    def type_of(cls, name: str) -> str:
        """Return the versioned CloudEvents type for a name such as ``task.completed``."""
        return f"{TYPE_PREFIX}{name}.{VERSION}"

    @property
    def ce_type(self) -> str:
        """This event's CloudEvents type."""
        return self.type_of(self.type_name)

    def to_json(self) -> bytes:
        """Encode the body; absent optional fields are left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Command(Event):
    """An event that asks for something: strict, since a typo must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- commands from anyone ------------------------------------------------------------------------


class BlockSelection(BaseModel):
    """A subset of a pipeline's blocks, alone or with all that is above or below them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    names: tuple[Name, ...] = Field(min_length=1, strict=False)
    upstream: bool = False
    downstream: bool = False


def _selection(value: object) -> object:
    return {"names": value} if isinstance(value, list | tuple) else value


def _finite(value: object) -> object:
    """Refuse NaN and infinity: no JSON knows them, and some writers turn them into null without a word."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that JSON can't express: NaN or infinity") from None
    return value


def _name_or_document(value: object) -> object:
    if isinstance(value, dict) or (isinstance(value, str) and value):
        return _finite(value)
    raise ValueError("should be a pipeline's name or an inline document")


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
PipelineSource = Annotated[
    str | dict[str, Any], PlainValidator(_name_or_document, json_schema_input_type=Name | dict[str, JsonValue])
]
Blocks = Annotated[BlockSelection, BeforeValidator(_selection, json_schema_input_type=list[str] | BlockSelection)]


class RunRequest(Command):
    """Please run this pipeline."""

    type_name = "request.run"

    id: RunId | None = Field(None, description="Idempotency key; becomes the run's id. Derived if absent.")
    pipeline: PipelineSource = Field(description="A pipeline's name, or a whole inline document.")
    blocks: Blocks | None = Field(None, description="Run only these blocks.")
    executor_type: str | None = Field(None, description="Run every block there, whatever the project says.")
    runtime: Literal["native", "mage"] | None = Field(
        None, description="What runs inside every job: ours, or `mage run`. Whatever the project says."
    )
    executor_config: dict[str, JsonObject] = Field(
        default_factory=dict, description='Configuration by executor type: {"k8s": {"namespace": "batch"}}.'
    )
    block_config: dict[str, JsonObject] = Field(default_factory=dict, description="Executor configuration by block.")
    run_pipeline_in_one_process: bool | None = Field(None, description="Run the whole pipeline as one task.")
    variables: JsonObject = Field(default_factory=dict, description="Win over the pipeline's variables.")
    execution_partition: Partition | None = Field(None, description="Where outputs are stored; the run's id if absent.")
    execution_date: datetime | None = None
    trigger_name: Name | None = Field(
        None, description="What started the run. A trigger of `triggers.yaml` gives its variables and settings."
    )
    event: JsonObject = Field(
        default_factory=dict, description="What happened outside: `event` in blocks. Its keys fill gaps in `variables`."
    )
    allow_blocks_to_fail: bool | None = Field(None, description="Go on beside failures; not, if nothing says so.")
    timeout: Seconds | None = Field(None, description="Seconds after which the run is stopped.")
    timeout_status: Literal["failed", "cancelled"] | None = Field(
        None, description="How a run ends that took too long; failed, if nothing says otherwise."
    )
    labels: dict[str, str] = Field(default_factory=dict)


class CancelRequest(Command):
    """Please stop this run, or some of its blocks."""

    type_name = "request.cancel"

    run: RunId
    blocks: tuple[Name, ...] | None = None
    reason: str | None = Field(None, max_length=1000)
    id: RunId | None = None


class RetryRequest(Command):
    """Please run again what did not complete in this finished run, as a new run."""

    type_name = "request.retry"

    run: RunId
    blocks: tuple[Name, ...] | None = None
    reason: str | None = Field(None, max_length=1000)
    id: RunId | None = Field(None, description="The new run's id. Derived if absent.")


# --- the resolver's command to the executors -------------------------------------------------------


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


# --- facts -------------------------------------------------------------------------------------------


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


EVENTS: Final[Mapping[str, type[Event]]] = {
    model.__name__: model
    for model in (RunRequest, CancelRequest, RetryRequest, ExecuteTask, TaskFact, RunFact, LogLines, DeadLetter)
}

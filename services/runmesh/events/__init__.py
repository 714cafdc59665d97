"""Every event on the wire, as frozen models; `schemas/` is generated from them.

Commands come from outside: they are strict, and a field they don't know is an error with the nearest
known name. Facts are read by programs that may be older than their writers: unknown fields are ignored.
Times are UTC; durations are seconds.
"""

from collections.abc import Mapping
from typing import Final

from runmesh.events.base import LONGEST, TYPE_PREFIX, VERSION, Command, Event, Handle, Name, Partition, RunId, Seconds
from runmesh.events.facts import (
    ATTEMPT,
    OUTCOME,
    RESUBMISSION,
    BlockStatus,
    DeadLetter,
    ExecuteTask,
    LogLines,
    RequestProblem,
    RunFact,
    TaskFact,
)
from runmesh.events.requests import (
    Blocks,
    BlockSelection,
    CancelRequest,
    JsonObject,
    PipelineSource,
    RetryRequest,
    RunRequest,
)
from runmesh.events.states import FINAL_RUN_STATES, FINAL_TASK_STATES, REPORTED_TASK_STATES, Cause, RunState, TaskState

__all__ = [
    "ATTEMPT",
    "EVENTS",
    "FINAL_RUN_STATES",
    "FINAL_TASK_STATES",
    "LONGEST",
    "OUTCOME",
    "REPORTED_TASK_STATES",
    "RESUBMISSION",
    "TYPE_PREFIX",
    "VERSION",
    "BlockSelection",
    "BlockStatus",
    "Blocks",
    "CancelRequest",
    "Cause",
    "Command",
    "DeadLetter",
    "Event",
    "ExecuteTask",
    "Handle",
    "JsonObject",
    "LogLines",
    "Name",
    "Partition",
    "PipelineSource",
    "RequestProblem",
    "RetryRequest",
    "RunFact",
    "RunId",
    "RunRequest",
    "RunState",
    "Seconds",
    "TaskFact",
    "TaskState",
]

EVENTS: Final[Mapping[str, type[Event]]] = {
    model.__name__: model
    for model in (RunRequest, CancelRequest, RetryRequest, ExecuteTask, TaskFact, RunFact, LogLines, DeadLetter)
}

"""The states of runs and tasks, and why a task failed: the words that all events share."""

from enum import StrEnum
from typing import Final


class _Word(StrEnum):
    """A word that is hashed as the string it is: Enum's own way is Python code, and the resolver does little else."""

    __hash__ = str.__hash__


class RunState(_Word):
    """The states of a run, in Mage's words."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    FAILING = "failing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class TaskState(_Word):
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


class Cause(_Word):
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

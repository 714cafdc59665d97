"""Whether a failed task is tried again, when, and which budget pays for it."""

from typing import Final

from runmesh.events import Cause, TaskFact
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import TaskRecord

INFRASTRUCTURE: Final = frozenset({Cause.CAPACITY, Cause.INFRASTRUCTURE, Cause.LOST})
"""The causes that spend the infrastructure budget."""
_FIRST_DELAY: Final = 10.0
_LONGEST_DELAY: Final = 300.0


def another_try(plan: Plan, record: TaskRecord, fact: TaskFact) -> tuple[float, TaskRecord] | None:
    """Return the delay in seconds and the next submission's record, or None if the failure is final.

    The user's budget (`retry_config`) pays for `user` and `timeout`; the separate infrastructure budget
    for lost work; nothing pays for what can't change, nor for what may still be running.
    """
    task = plan.task(fact.block)
    cause = Cause.UNVERIFIED if fact.unconfirmed else fact.cause
    if fact.handed_back and not fact.unconfirmed:
        return 0.0, record.model_copy(update={"resubmission": record.resubmission + 1})
    if cause in (Cause.USER, Cause.TIMEOUT) and record.attempt <= task.retries.retries:
        return task.retries.wait(record.attempt), record.model_copy(update={"attempt": record.attempt + 1})
    rerun = cause in INFRASTRUCTURE or (cause is Cause.UNVERIFIED and task.rerun_when_unverified)
    if record.callback and cause is Cause.CAPACITY:
        return None  # nobody is there to run it, and the run's end waits for it
    if rerun and record.spent < plan.infrastructure_retries:
        following = record.model_copy(update={"resubmission": record.resubmission + 1, "spent": record.spent + 1})
        return _delay(record.spent) * _jitter(fact.key), following
    return None


def longest_wait(plan: Plan, name: str, record: TaskRecord) -> float:
    """Return the most seconds for which a task in `retrying` can be waiting."""
    of_user = plan.task(name).retries.wait(record.attempt - 1) if record.attempt > 1 else 0.0
    return max(of_user, _delay(record.spent - 1)) if record.spent else of_user


def _delay(spent: int) -> float:
    return min(_FIRST_DELAY * 2.0**spent, _LONGEST_DELAY)


def _jitter(key: str) -> float:
    """Spread retries by up to a quarter, by the task's key: the same at every replica."""
    return 1 - (sum(key.encode()) % 64) / 256

"""What Cloud Run says of a job and its execution means (pure).

A job's own status says only whether its execution could be started; the end is the execution's. Why it failed is in its
condition ``Completed``, the exit code or the signal in the last attempt of its task.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any, Final

from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Observation, Phase
from runmesh.platforms.exits import SIGNALLED, refused, signal_name

Json = Mapping[str, Any]

PHASES: Final[Mapping[str, Phase]] = {
    "EXECUTION_PENDING": Phase.PENDING,
    "EXECUTION_RUNNING": Phase.RUNNING,
    "EXECUTION_SUCCEEDED": Phase.SUCCEEDED,
    "EXECUTION_FAILED": Phase.FAILED,
    "EXECUTION_CANCELLED": Phase.FAILED,
}
"""What an execution's status means; one that is not here says nothing."""
BY_REASON: Final[Mapping[str, Cause]] = {
    "CANCELLED": Cause.CANCELLED,
    "CANCELLING": Cause.CANCELLED,
    "DELETED": Cause.INFRASTRUCTURE,
    "JOB_STATUS_SERVICE_POLLING_ERROR": Cause.INFRASTRUCTURE,
    "INTERNAL": Cause.INFRASTRUCTURE,
    "UNKNOWN": Cause.INFRASTRUCTURE,
    "IMMEDIATE_RETRY": Cause.INFRASTRUCTURE,
    "POSTPONED_RETRY": Cause.INFRASTRUCTURE,
    "PROGRESS_DEADLINE_EXCEEDED": Cause.CAPACITY,
    "DELAYED_START_PENDING": Cause.CAPACITY,
    "CONTAINER_MISSING": Cause.CONFIG,
    "CONTAINER_PERMISSION_DENIED": Cause.CONFIG,
    "CONTAINER_IMAGE_UNAUTHORIZED": Cause.CONFIG,
    "CONTAINER_IMAGE_AUTHORIZATION_CHECK_FAILED": Cause.CONFIG,
    "ENCRYPTION_KEY_PERMISSION_DENIED": Cause.CONFIG,
    "ENCRYPTION_KEY_CHECK_FAILED": Cause.CONFIG,
    "SECRETS_ACCESS_CHECK_FAILED": Cause.CONFIG,
    "VPC_NETWORK_NOT_FOUND": Cause.CONFIG,
}
"""A condition's reason, where the container said nothing."""
BY_WORDS: Final = (
    (Cause.USER, r"memory limit|out of memory"),
    (Cause.TIMEOUT, r"configured timeout|task timeout|timeout was reached"),
    (Cause.CAPACITY, r"quota|no available capacity|insufficient|resource exhausted|could not be scheduled"),
    (Cause.CONFIG, r"exec likely failed|exec format|failed to load|no such file|image .*not found|permission|denied"),
    (Cause.CONFIG, r"invalid|not found|does not exist"),
)
"""The first that is found in what Cloud Run says, where no reason decides. Else: infrastructure."""
UNSPECIFIED: Final = "COMPLETION_STATUS_UNSPECIFIED"
_COMPLETED: Final = "Completed"
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    """What a list says of a job."""

    status: str = ""
    """Its execution's; empty while there is none."""
    completed: bool = False
    broken: bool = False
    """Its execution could not be started."""
    deleted: bool = False
    """Somebody deletes its execution, which may still run."""
    reason: str = ""
    message: str = ""


def of_execution(execution: Json) -> Found:
    """Return what an execution itself says, as its job would say it."""
    condition = _completed(execution)
    message = str(condition.get("message") or "")
    match condition.get("state"):
        case "CONDITION_SUCCEEDED":
            return Found("EXECUTION_SUCCEEDED", completed=True)
        case "CONDITION_FAILED":
            cancelled = BY_REASON.get(_reason(condition)) is Cause.CANCELLED
            return Found(f"EXECUTION_{'CANCELLED' if cancelled else 'FAILED'}", completed=True, message=message)
    return Found(f"EXECUTION_{'RUNNING' if execution.get('running_count') else 'PENDING'}", message=message)


def observed(found: Found, url: str) -> Observation:
    """Return what a job is doing; of one that failed, only that."""
    if not found.status:
        return _not_started(found, url)
    if (phase := PHASES.get(found.status)) is None:
        return UNKNOWN
    if phase is Phase.PENDING:
        return Observation(phase, reason=found.message or "pending", url=url)
    if phase is Phase.RUNNING or not found.completed:  # it may have been told to stop
        return Observation(Phase.RUNNING, url=url)
    if phase is Phase.SUCCEEDED:
        return Observation(phase, exit_code=0, url=url)
    cause = Cause.CANCELLED if found.status == "EXECUTION_CANCELLED" else None
    return Observation(phase, cause=cause, reason=found.message or None, url=url)


def failed(execution: Json, task: Json, *, url: str, log_tail: tuple[str, ...] = ()) -> Observation:
    """Return why an execution failed. `log_tail` are its last lines."""
    condition = _completed(execution)
    result = task.get("last_attempt_result") or {}
    code, signal = result.get("exit_code") or None, result.get("term_signal")
    said = ": ".join(
        dict.fromkeys(filter(None, (condition.get("message"), (result.get("status") or {}).get("message"))))
    )
    cause, reason = _why(execution, _reason(condition), said, code, signal)
    return Observation(
        Phase.FAILED, code or (SIGNALLED + signal if signal else None), cause, reason[:_LONGEST], url, log_tail
    )


def _why(execution: Json, reason: str, said: str, code: int | None, signal: int | None) -> tuple[Cause, str]:
    cause = BY_REASON.get(reason)
    if cause is Cause.CANCELLED:
        return cause, said or "cancelled"
    if _by_words(said) in (Cause.TIMEOUT, Cause.USER):
        return _by_words(said) or Cause.USER, said
    if wrong := refused(code, _container(execution), "env"):
        return wrong
    if code:
        return Cause.USER, f"exit code {code}{f': {said}' if said else ''}"
    if signal:
        return Cause.USER, f"{_signal(execution, signal)}{f': {said}' if said else ''}"
    return cause or _by_words(said) or Cause.INFRASTRUCTURE, ": ".join(
        filter(None, (reason, said))
    ) or "nothing says why"


def _not_started(found: Found, url: str) -> Observation:
    cause = BY_REASON.get(found.reason) or _by_words(found.message)
    told = ": ".join(filter(None, (found.reason, found.message)))[:_LONGEST]
    if found.broken:
        return Observation(
            Phase.FAILED, cause=cause or Cause.INFRASTRUCTURE, reason=told or "nothing says why", url=url
        )
    return Observation(Phase.PENDING, cause=cause, reason=told or "not started yet", url=url)


def _completed(execution: Json) -> Json:
    conditions = execution.get("conditions") or ()
    return next((each for each in conditions if each.get("type_") == _COMPLETED), {})


def _reason(condition: Json) -> str:
    return str(condition.get("execution_reason") or condition.get("reason") or "")


def _by_words(said: str) -> Cause | None:
    return next((cause for cause, pattern in BY_WORDS if re.search(pattern, said, re.IGNORECASE)), None)


def _container(execution: Json) -> Json:
    containers: Sequence[Json] = (execution.get("template") or {}).get("containers") or ({},)
    return containers[0]


def _signal(execution: Json, number: int) -> str:
    name = signal_name(number)
    limit = ((_container(execution).get("resources") or {}).get("limits") or {}).get("memory")
    return f"{name}: it may have gone over its memory of {limit}" if number == Signals.SIGKILL and limit else name

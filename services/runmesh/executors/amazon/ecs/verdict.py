"""What a described task means (pure).

The end is the task's `STOPPED`; what the container said (its exit code) counts where the task ended by itself, what ECS
says (`stopCode`, and the beginning of `stoppedReason`) where it was stopped or never started.
"""

import re
from collections.abc import Mapping, Sequence
from signal import Signals
from typing import Any, Final

from runmesh.events import Cause
from runmesh.executor import GONE, UNKNOWN, Observation, Phase
from runmesh.executors.amazon.ecs import naming
from runmesh.platforms.exits import SIGNALLED, refused, signal_of

Json = Mapping[str, Any]

STOPPED_BY_US: Final = "runmesh: "
"""Begins the reason of every stop of ours."""
PHASES: Final[Mapping[str, Phase]] = {
    "PROVISIONING": Phase.PENDING,
    "PENDING": Phase.PENDING,
    "ACTIVATING": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "DEACTIVATING": Phase.RUNNING,
    "STOPPING": Phase.RUNNING,
    "DEPROVISIONING": Phase.RUNNING,
    "DELETED": Phase.GONE,
}
"""What a status before the end means; one that is not here says nothing."""
BY_STOP_CODE: Final[Mapping[str, Cause]] = {
    "SpotInterruption": Cause.INFRASTRUCTURE,
    "TerminationNotice": Cause.INFRASTRUCTURE,
    "ServiceSchedulerInitiated": Cause.INFRASTRUCTURE,
    "UserInitiated": Cause.INFRASTRUCTURE,
}
"""Stops from outside, whatever the container's exit code; ours are told apart by their reason."""
NOT_STARTED: Final = (
    (
        Cause.CAPACITY,
        r"capacity is unavailable|insufficient\b|RESOURCE:|no container instance|limit exceeded|ENI limit",
    ),
    (Cause.CAPACITY, r"unable to (place|find) |timed out while waiting for capacity|capacity provider"),
    (
        Cause.INFRASTRUCTURE,
        r"timeout|timed out|i/o|connection (reset|refused)|temporar|toomanyrequests|throttl|rate exc",
    ),
    (Cause.INFRASTRUCTURE, r"internal (server )?error|service unavailable|no space left|TaskFailedToStart: EFS"),
    (Cause.CONFIG, r"\bCannot(Pull|Start|Create|Inspect)Container"),
    (Cause.CONFIG, r"\bResourceInitializationError|\bCannotCreateVolume|access ?denied|not authorized"),
    (Cause.CONFIG, r"ATTRIBUTE|invalid|not found|does not exist|no such"),
)
"""What the reason of a task that never started means; the first that is found in it. Else: infrastructure."""
_OUT_OF_MEMORY: Final = "OutOfMemoryError"
_KILLED: Final = SIGNALLED + Signals.SIGKILL
_LONGEST: Final = 500


def observed(found: Json, *, log_tail: tuple[str, ...] = ()) -> Observation:
    """Return what a task is doing. `log_tail` are its last lines, for a failure."""
    status, arn = found.get("lastStatus", ""), found["taskArn"]
    url = naming.url(arn)
    if status == "STOPPED":
        return _ended(found, url, log_tail)
    match PHASES.get(status):
        case None:
            return UNKNOWN
        case Phase.GONE:
            return GONE
        case Phase.RUNNING if status != "RUNNING" and not found.get("startedAt"):
            return Observation(Phase.PENDING, reason=_reason(found) or None, url=url)
        case Phase.PENDING:
            return Observation(Phase.PENDING, reason=_waiting(found), url=url)
        case phase:
            return Observation(phase, url=url)


def container_name(found: Json) -> str | None:
    """Return the container that runs the task's command: the first that our own overrides name."""
    overridden = (found.get("overrides") or {}).get("containerOverrides") or ()
    containers = found.get("containers") or ()
    return next((each["name"] for each in (*overridden, *containers) if each.get("name")), None)


def _ended(found: Json, url: str, log_tail: tuple[str, ...]) -> Observation:
    code = found.get("stopCode")
    container = _container(found)
    exit_code = container.get("exitCode")
    if exit_code == 0 and code in (None, "EssentialContainerExited"):
        return Observation(Phase.SUCCEEDED, exit_code=0, url=url)
    cause, reason = _why(found, container, exit_code)
    return Observation(Phase.FAILED, exit_code, cause, reason[:_LONGEST], url, log_tail)


def _why(found: Json, container: Json, exit_code: int | None) -> tuple[Cause, str]:
    code, reason = str(found.get("stopCode") or ""), _reason(found)
    if reason.startswith(STOPPED_BY_US):
        return Cause.CANCELLED, reason.removeprefix(STOPPED_BY_US)
    if code in BY_STOP_CODE:
        return BY_STOP_CODE[code], f"{code}: {reason}"
    if code == "TaskFailedToStart" or (exit_code is None and not found.get("startedAt")):
        return _not_started(reason), reason
    if exit_code is not None:
        return _of_exit(found, container, exit_code)
    return Cause.INFRASTRUCTURE, f"{code or 'no stop code'}: {reason or 'nothing says why'}"


def _not_started(reason: str) -> Cause:
    for cause, pattern in NOT_STARTED:
        if re.search(pattern, reason, re.IGNORECASE):
            return cause
    return Cause.INFRASTRUCTURE


def _of_exit(found: Json, container: Json, code: int) -> tuple[Cause, str]:
    said = str(container.get("reason") or "")
    if _OUT_OF_MEMORY in (said if code != _KILLED else f"{said} {found.get('stoppedReason')}"):
        return Cause.USER, f"{_OUT_OF_MEMORY}: it went over its memory of {_memory(found)} MiB"
    if wrong := refused(code, _override(found), "environment"):
        return wrong
    if other := _other_that_ended(found, container):
        return Cause.USER, f"exit code {code}: it was stopped since {other} had ended"
    return Cause.USER, f"exit code {code}{signal_of(code)}{f': {said}' if said else ''}"


def _other_that_ended(found: Json, container: Json) -> str | None:
    """Return the essential container beside ours whose end stopped the task, if ours was killed for it."""
    if container.get("exitCode") not in (_KILLED, SIGNALLED + Signals.SIGTERM):
        return None
    failed = [each for each in found.get("containers") or () if each is not container and each.get("exitCode")]
    return next((f"container {each['name']} (exit code {each['exitCode']})" for each in failed), None)


def _container(found: Json) -> Json:
    name = container_name(found)
    return next((each for each in found.get("containers") or () if each.get("name") == name), {})


def _override(found: Json) -> Json:
    overridden: Sequence[Json] = (found.get("overrides") or {}).get("containerOverrides") or ({},)
    return overridden[0]


def _memory(found: Json) -> Any:
    return _override(found).get("memory") or found.get("memory") or "its definition"


def _reason(found: Json) -> str:
    said = (found.get("stoppedReason"), _container(found).get("reason"))
    return ": ".join(dict.fromkeys(filter(None, said)))


def _waiting(found: Json) -> str:
    return f"{found['lastStatus']} for now{f': {reason}' if (reason := _reason(found)) else ''}"

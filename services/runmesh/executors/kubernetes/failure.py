"""Why a Job failed: the cause is read from the last pod that failed, in the order of the rules in `_of_pod`.

What the cluster did to the pod comes first, since a container that is stopped for it may exit with any code.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from runmesh.events import Cause
from runmesh.executors.kubernetes.known import main_of
from runmesh.platforms.exits import refused, signal_of

Json = Mapping[str, Any]

_LONGEST: Final = 500
_NODE_WAS_LOW: Final = "node was low on resource"
_BY_REASON: Final[Mapping[str, Cause]] = {
    "DeadlineExceeded": Cause.TIMEOUT,
    "OOMKilled": Cause.USER,
    "StartError": Cause.CONFIG,
    "ContainerCannotRun": Cause.CONFIG,
    "ContainerStatusUnknown": Cause.INFRASTRUCTURE,
}
"""What ended a container, where its exit code doesn't tell; also a Job or a pod, where its containers don't."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a Job failed."""

    cause: Cause
    reason: str
    exit_code: int | None = None
    message: str = ""
    """A container's last words: its termination message, or the end of its log."""


def failure(job: Json, condition: Json, pods: Sequence[Json]) -> Failure:
    """Return why a Job failed, whose condition `Failed` this is."""
    said = _said(condition)
    if condition.get("reason") == "DeadlineExceeded":
        limit = job["spec"].get("activeDeadlineSeconds")
        return Failure(Cause.TIMEOUT, f"ran longer than its active_deadline_seconds of {limit}: {said}")
    pod = max((pod for pod in pods if _phase(pod) == "Failed"), key=_created, default=None)
    if pod is None and job["spec"]["template"]["spec"].get("restartPolicy") == "OnFailure":
        return Failure(Cause.USER, f"its container failed again and again, and its pod was removed for it: {said}")
    if pod is None:
        return Failure(Cause.INFRASTRUCTURE, f"its pod is gone, somebody or something deleted it: {said}")
    return _of_pod(job, pod)


def _of_pod(job: Json, pod: Json) -> Failure:
    status = pod["status"]
    found = next(_terminated(job, pod), None)
    code, message = (found[1].get("exitCode"), _message(found[1])) if found else (None, "")
    disrupted = next((each for each in status.get("conditions") or () if each["type"] == "DisruptionTarget"), None)
    if disrupted and disrupted.get("status") == "True":
        return Failure(Cause.INFRASTRUCTURE, _said(disrupted), code, message)
    if reason := status.get("reason"):
        return Failure(_cause_of_status(status), _said(status, reason), code, message)
    if found is None:
        return Failure(Cause.INFRASTRUCTURE, f"its pod failed, and nothing says why: {_said(status)}")
    if _was_deleted(pod, found[1]):
        return Failure(Cause.INFRASTRUCTURE, f"its pod was deleted, exit code {code}", code, message)
    return _of_container(job, *found)


def _cause_of_status(status: Json) -> Cause:
    """Tell what the user's own use did from what the cluster did: a pod is also evicted for going over its limits."""
    message = str(status.get("message", "")).lower()
    if status["reason"] == "Evicted" and "exceed" in message and _NODE_WAS_LOW not in message:
        return Cause.USER
    return _BY_REASON.get(status["reason"], Cause.INFRASTRUCTURE)


def _of_container(job: Json, name: str, end: Json) -> Failure:
    code, reason, message = end.get("exitCode"), end.get("reason", ""), _message(end)
    cause = _BY_REASON.get(reason, Cause.USER)
    spec = next((each for each in _specs(job) if each["name"] == name), {})
    if reason == "OOMKilled":
        text = f"OOMKilled: {_memory(spec)}"
    elif wrong := refused(code, spec, "env"):
        cause, text = wrong
    elif reason in _BY_REASON:
        text = f"{reason}, exit code {code}"
    else:
        text = f"exit code {code}{signal_of(code)}"
    who = "" if name == _main(job) else f"container {name}: "
    last = next((line.strip() for line in reversed(message.splitlines()) if line.strip()), "")
    return Failure(cause, f"{who}{text}{f': {last}' if last else ''}"[:_LONGEST], code, message)


def _memory(spec: Json) -> str:
    limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    return (
        f"it went over its memory limit of {limit}" if limit else "its node ran out of memory, it has no limit itself"
    )


def _terminated(job: Json, pod: Json) -> Iterator[tuple[str, Json]]:
    """Yield the containers that ended badly: the job's own first, then what had to run before it.

    Last come sidecars, which are stopped when something else has failed.
    """
    status = pod["status"]
    main = _main(job)
    sidecars = {each["name"] for each in _specs(job) if each.get("restartPolicy") == "Always"}
    both = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    for each in sorted(both, key=lambda each: (each["name"] != main, each["name"] in sidecars)):
        end = (each.get("state") or {}).get("terminated")
        if end and end.get("exitCode"):
            yield each["name"], end


def _specs(job: Json) -> Iterator[Json]:
    pod = job["spec"]["template"]["spec"]
    yield from pod["containers"]
    yield from pod.get("initContainers") or ()


def _main(job: Json) -> str:
    return main_of(job["spec"]["template"]["spec"])


def _was_deleted(pod: Json, end: Json) -> bool:
    """Say whether the pod was told to go before its container had ended."""
    gone_by, finished = pod["metadata"].get("deletionTimestamp"), end.get("finishedAt")
    if not gone_by or not finished:
        return bool(gone_by)
    grace = timedelta(seconds=pod["metadata"].get("deletionGracePeriodSeconds") or 0)
    return datetime.fromisoformat(finished) >= datetime.fromisoformat(gone_by) - grace


def _message(end: Json) -> str:
    return str(end.get("message") or "")


def _said(thing: Json, reason: str = "") -> str:
    return ": ".join(filter(None, (reason or thing.get("reason"), thing.get("message"))))[:_LONGEST]


def _phase(pod: Json) -> str | None:
    return (pod.get("status") or {}).get("phase")


def _created(pod: Json) -> str:
    return pod["metadata"].get("creationTimestamp") or ""

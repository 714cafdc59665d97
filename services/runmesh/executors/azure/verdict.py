"""What a container group means, as Azure tells of it (pure).

That a group was provisioned says nothing of its container: the container's own state does, and its exit code is the
end. What the group says (its state, its provisioning) counts where the container never ran, or was stopped from
outside.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from signal import Signals
from typing import Any, Final

from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Observation, Phase
from runmesh.platforms.exits import SIGNALLED, refused, signal_of

Json = Mapping[str, Any]

PROVISIONING: Final[Mapping[str, Phase]] = {
    "Pending": Phase.PENDING,
    "Accepted": Phase.PENDING,
    "Creating": Phase.PENDING,
    "Updating": Phase.PENDING,
    "Succeeded": Phase.PENDING,
    "Repairing": Phase.UNKNOWN,
    "Unhealthy": Phase.UNKNOWN,
    "NotAccessible": Phase.UNKNOWN,
    "Deleting": Phase.UNKNOWN,
    "Failed": Phase.FAILED,
    "Canceled": Phase.FAILED,
}
"""What a provisioning state means for a container that doesn't run; one that is not here says nothing."""
GROUP: Final[Mapping[str, Cause | None]] = {
    "Stopped": Cause.INFRASTRUCTURE,
    "Failed": None,
}
"""States of a group that are its end, whatever its container says, and the cause; None: events tell."""
EVENTS: Final = (
    (Cause.INFRASTRUCTURE, r"evict|preempt|spot .*(reclaim|capacity)"),
    (Cause.CAPACITY, r"InsufficientCapacity|not available in the location|quota"),
    (
        Cause.INFRASTRUCTURE,
        r"timeout|timed out|too ?many ?requests|throttl|connection (reset|refused)|\b5\d\d\b (Internal|Bad|Serv)",
    ),
    (
        Cause.CONFIG,
        r"failed to pull|pull(ing)? image .* fail|manifest unknown|InaccessibleImage|not found|unauthorized|denied",
    ),
    (Cause.CONFIG, r"failed to start|failed to create|failed to mount|no such file|executable file|invalid"),
)
"""What events say of a container that never ran, or was ended from outside; the first that is found."""
_NORMAL: Final = frozenset({"Pulling", "Pulled", "Created", "Started", "Killing", "SuccessfulMountAzureFileVolume"})
_STARTED: Final = "Started"
_EVICTED: Final = re.compile(EVENTS[0][1], re.IGNORECASE)
_OUT_OF_MEMORY: Final = "OOMKilled"
_PLATFORMS: Final = 255
"""No program on Linux exits with more: greater codes are Azure's own."""
_KILLED: Final = (SIGNALLED + Signals.SIGKILL, SIGNALLED + Signals.SIGTERM)
_LONGEST: Final = 500


def observed(group: Json, *, url: str | None = None, log_tail: tuple[str, ...] = ()) -> Observation:
    """Return what a group is doing, from the answer to a GET. `log_tail` are its last lines, for a failure."""
    current = _view(container_of(group)).get("currentState") or {}
    if ended(group):
        return _ended(group, current, url, log_tail)
    if current.get("state") == "Running":
        return Observation(Phase.RUNNING, url=url)
    match PROVISIONING.get(provisioning(group), Phase.UNKNOWN):
        case Phase.PENDING:
            cause, reason = _told(troubles(group))
            return Observation(Phase.PENDING, cause=cause, reason=reason, url=url)
        case _:
            return UNKNOWN


def ended(group: Json) -> bool:
    """Whether nothing more will become of a group."""
    state = (_view(container_of(group)).get("currentState") or {}).get("state")
    over = PROVISIONING.get(provisioning(group)) is Phase.FAILED or _view(group).get("state") in GROUP
    return state == "Terminated" or (over and state != "Running")


def provisioning(group: Json) -> str:
    """Return how far a group's deployment is."""
    return str(group["properties"].get("provisioningState", ""))


def container_of(group: Json) -> Json:
    """Return the container that runs the task."""
    found: Json = group["properties"]["containers"][0]
    return found


def troubles(group: Json) -> list[Json]:
    """Return the events of a group that are not the usual ones, the last one first."""
    events = [*(_view(container_of(group)).get("events") or ()), *(_view(group).get("events") or ())]
    odd = [each for each in events if each.get("name") not in _NORMAL]
    return sorted(odd, key=lambda each: str(each.get("lastTimestamp") or ""), reverse=True)


def _ended(group: Json, current: Json, url: str | None, log_tail: tuple[str, ...]) -> Observation:
    code = current.get("exitCode")
    state = str(_view(group).get("state"))
    if state != "Stopped" and current.get("state") == "Terminated" and code == 0:
        return Observation(Phase.SUCCEEDED, exit_code=0, url=url)
    cause, reason = _why(group, current, code)
    return Observation(Phase.FAILED, code, cause, reason[:_LONGEST], url, log_tail)


def _why(group: Json, current: Json, code: int | None) -> tuple[Cause, str]:
    odd, state = troubles(group), _view(group).get("state")
    if evicted := next((each for each in odd if _EVICTED.search(_text(each))), None):
        return Cause.INFRASTRUCTURE, _text(evicted)
    if state == "Stopped":
        return Cause.INFRASTRUCTURE, f"Azure says Stopped: {_text(odd[0]) if odd else 'by hand, or by the platform'}"
    if code is None or not _has_started(group, current):
        cause, reason = _told(odd)
        nothing = f"Azure says {state or provisioning(group)}, and nothing says why"
        return cause or Cause.INFRASTRUCTURE, reason or _of_init(group) or nothing
    return _of_exit(group, current, code)


def _of_exit(group: Json, current: Json, code: int) -> tuple[Cause, str]:
    detail = str(current.get("detailStatus") or "")
    if detail == _OUT_OF_MEMORY:
        return Cause.USER, f"{_OUT_OF_MEMORY}: it went over its memory of {_memory(group):g} GB"
    if not 0 <= code <= _PLATFORMS and group["properties"].get("osType") != "Windows":
        return Cause.INFRASTRUCTURE, f"Azure ended the container with its own code {code}: {detail}"
    how = f"exit code {code}{signal_of(code)}"
    if code in _KILLED and group["properties"].get("priority") == "Spot":
        return Cause.INFRASTRUCTURE, f"{how}: killed, as the containers of evicted groups are"
    if wrong := refused(code, container_of(group)["properties"], "environmentVariables"):
        return wrong
    return Cause.USER, how


def _of_init(group: Json) -> str | None:
    """Say which init container failed, if one did: then the task's own never runs."""
    for each in group["properties"].get("initContainers") or ():
        if code := (_view(each).get("currentState") or {}).get("exitCode"):
            return f"its init container {each['name']!r} ended with exit code {code}"
    return None


def _has_started(group: Json, current: Json) -> bool:
    events: Sequence[Json] = _view(container_of(group)).get("events") or ()
    return bool(current.get("startTime")) or any(each.get("name") == _STARTED for each in events)


def _told(odd: Iterable[Json]) -> tuple[Cause | None, str | None]:
    """Return what the last event says, as far as it tells a cause."""
    for each in odd:
        for cause, pattern in EVENTS:
            if re.search(pattern, text := _text(each), re.IGNORECASE):
                return cause, text[:_LONGEST]
    return None, next((_text(each)[:_LONGEST] for each in odd), None)


def _text(event: Json) -> str:
    return ": ".join(filter(None, (str(event.get("name") or ""), str(event.get("message") or ""))))


def _view(thing: Json) -> Json:
    """Return the instance view of a group or a container; empty where a listing leaves it out."""
    return (thing.get("properties") or {}).get("instanceView") or {}


def _memory(group: Json) -> float:
    resources = container_of(group)["properties"]["resources"]
    return float((resources.get("limits") or {}).get("memoryInGB") or resources["requests"]["memoryInGB"])

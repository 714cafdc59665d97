"""Why a Job has not started yet, and whose fault it will have been if it never does, in the cluster's own words.

What a cluster may still have (a free node, a higher quota, a registry that answers) is `capacity`; what it never will
(an image, a secret or a service account that doesn't exist, what its policy forbids) is `config`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runmesh.events import Cause

Json = Mapping[str, Any]

_LONGEST: Final = 500
_NORMAL: Final = frozenset({"ContainerCreating", "PodInitializing", ""})
"""What a container says that will start."""
_FOR_NOW: Final = re.compile(
    r"exceeded quota|timeout|timed out|deadline exceeded|too ?many ?requests|no such host|connection (refused|reset)"
    r"|server misbehaving|unavailable|EOF|\b5\d\d\b (Internal|Bad|Service|Gateway)",
    re.IGNORECASE,
)
_FOR_EVER: Final = re.compile(r"not found|forbidden|denied|unauthorized|invalid|violates", re.IGNORECASE)


class Waiting(NamedTuple):
    """Why a Job doesn't start."""

    cause: Cause | None = None
    reason: str | None = None


def waiting(conditions: Mapping[str, Json], pods: Sequence[Json], events: Sequence[Json]) -> Waiting:
    """Return why a Job with these conditions, pods and warnings has not started; nothing if nothing holds it up."""
    if "Suspended" in conditions:
        return Waiting(Cause.CAPACITY, _text("suspended", conditions["Suspended"].get("message")))
    pod = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)
    found = _of_pod(pod.get("status") or {}) if pod else Waiting()
    return found if found.reason else _of_events(events)


def _of_pod(status: Json) -> Waiting:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message")
            cause = Cause.CONFIG if "not found" in str(message) else Cause.CAPACITY
            return Waiting(cause, _text(condition.get("reason"), message))
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = (container.get("state") or {}).get("waiting") or {}
        if state.get("reason", "") not in _NORMAL:
            return Waiting(_cause(state, otherwise=Cause.CONFIG), _text(state["reason"], state.get("message")))
    return Waiting()


def _of_events(events: Sequence[Json]) -> Waiting:
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return Waiting()
    last = max(warnings, key=_when)
    return Waiting(_cause(last, otherwise=Cause.CAPACITY), _text(last.get("reason"), last.get("message")))


def _when(event: Json) -> str:
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next(filter(None, stamps), "")


def _cause(said: Json, *, otherwise: Cause) -> Cause:
    message = str(said.get("message", ""))
    if _FOR_NOW.search(message):
        return Cause.CAPACITY
    return Cause.CONFIG if _FOR_EVER.search(message) else otherwise


def _text(reason: str | None, message: str | None) -> str:
    return ": ".join(filter(None, (reason, message)))[:_LONGEST]

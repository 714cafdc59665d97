"""What a Job's status and that of its pods mean.

The end is the Job's condition, ``Complete`` or ``Failed``: counters, and the conditions that announce the two
(``SuccessCriteriaMet``, ``FailureTarget``), come before its pods are over. Why it failed is in its last pod
(`failure`); why it doesn't start, in its pod, or in what the cluster says about the Job (`waiting`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runmesh.executor import GONE, Observation, Phase
from runmesh.executors.kubernetes.failure import Failure, failure
from runmesh.executors.kubernetes.naming import URL
from runmesh.executors.kubernetes.waiting import waiting
from runmesh.platforms.lines import tail

Json = Mapping[str, Any]

_STARTED: Final = frozenset({"Running", "Succeeded", "Failed", "Unknown"})
"""Phases of a pod whose containers have run; of Unknown (a node that is silent) nobody knows the contrary."""


def observed(
    job: Json | None,
    pods: Sequence[Json] = (),
    *,
    events: Sequence[Json] = (),
    url: str | None = None,
    log_tail: tuple[str, ...] = (),
) -> Observation:
    """Return what a Job is doing, from raw JSON; None is a Job that the API doesn't know.

    `events` are warnings about the Job and its pods; they matter only until a container has started. `log_tail` are the
    last lines of its log, for a failure; the Job's own annotation wins over `url`. A PENDING observation has the cause
    and the reason that hold if it never starts.
    """
    if job is None:
        return GONE
    url = (job["metadata"].get("annotations") or {}).get(URL, url)
    ends = conditions(job)
    if "Complete" in ends:
        return Observation(Phase.SUCCEEDED, exit_code=0, url=url)
    if "Failed" in ends:
        return _failed(failure(job, ends["Failed"], pods), url, log_tail)
    if any((pod.get("status") or {}).get("phase") in _STARTED for pod in pods):
        return Observation(Phase.RUNNING, url=url)
    found = waiting(ends, pods, events)
    return Observation(Phase.PENDING, cause=found.cause, reason=found.reason, url=url)


def conditions(thing: Json) -> dict[str, Json]:
    """Return the conditions of a Job or a pod that hold, by type."""
    found = (thing.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in found if condition.get("status") == "True"}


def _failed(why: Failure, url: str | None, log_tail: tuple[str, ...]) -> Observation:
    told = log_tail or tail(why.message.splitlines())
    return Observation(Phase.FAILED, why.exit_code, why.cause, why.reason, url, told)

"""What a Job's status and that of its pods mean: the end is the Job's condition, the cause is in its pod."""

from collections.abc import Mapping, Sequence
from typing import Any

from runmesh.events import Cause
from runmesh.executor import GONE, Observation, Phase

Json = Mapping[str, Any]


def observed(
    job: Json | None,
    pods: Sequence[Json] = (),
    *,
    events: Sequence[Json] = (),
    url: str | None = None,
    log_tail: tuple[str, ...] = (),
) -> Observation:
    """Return what a Job is doing, from raw JSON; None is a Job that the API doesn't know.

    `events` are warnings about the Job (FailedCreate says there that a quota is exceeded); they matter only while it
    has no pod. `log_tail` are the last lines of its log, for a failure.
    """
    if job is None:
        return GONE
    ends = {condition["type"]: condition for condition in (job.get("status") or {}).get("conditions") or ()}
    if "Complete" in ends:
        return Observation(Phase.SUCCEEDED, exit_code=0, url=url)
    if "Failed" in ends:
        return Observation(Phase.FAILED, exit_code=1, cause=Cause.USER, url=url, log_tail=log_tail)
    running = any((pod.get("status") or {}).get("phase") == "Running" for pod in pods)
    return Observation(Phase.RUNNING if running else Phase.PENDING, url=url)

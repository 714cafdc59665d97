"""What a trigger adds to the request that names it.

A trigger is a request's defaults: its variables go below the request's, its settings hold where the request says
nothing. A name that the pipeline's `triggers.yaml` doesn't know is a label, and adds nothing.
"""

from runmesh.events import RunRequest
from runmesh.projects.triggers import Trigger, Triggers


def trigger_of(request: RunRequest, triggers: Triggers) -> Trigger | None:
    """Return the trigger that a request names, if there is one."""
    return triggers.by_name.get(request.trigger_name) if request.trigger_name else None


def triggered(request: RunRequest, triggers: Triggers) -> RunRequest:
    """Return the request with what its trigger adds."""
    trigger = trigger_of(request, triggers)
    if trigger is None:
        return request
    settings = {key: getattr(trigger, key) for key in ("timeout", "timeout_status", "allow_blocks_to_fail")}
    unsaid = {key: value for key, value in settings.items() if getattr(request, key) is None}
    return request.model_copy(update={**unsaid, "variables": {**trigger.variables, **request.variables}})

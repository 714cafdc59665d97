"""The triggers of a pipeline, from its `triggers.yaml`: what a request that names one is started with.

Of a trigger only its variables and some of its settings count here: nothing is started by the file itself, whatever
schedule and status it says.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import files, yaml_text
from runmesh.projects.fields import Fields, Problems
from runmesh.projects.model import Config, Project

TRIGGERS: Final = "triggers.yaml"
_OTHERS: Final = (
    *("description", "envs", "last_enabled_at", "pipeline_uuid", "repo_path", "schedule_interval", "schedule_type"),
    *("sla", "start_time", "status", "token"),
)
_OTHER_SETTINGS: Final = (
    *("create_initial_pipeline_run", "invalid_schedule_interval", "landing_time_enabled", "pipeline_run_limit"),
    "skip_if_previous_running",
)
_LONGEST: Final = 10 * 366 * 86_400
_EMPTY: Final[Config] = {}


class Trigger(NamedTuple):
    """What one trigger says of the runs that it starts; None where it says nothing."""

    name: str
    variables: Config = _EMPTY
    """As JSON has them: between the pipeline's and the run's."""
    timeout: float | None = None
    """Seconds that a run may take."""
    timeout_status: str | None = None
    """How a run ends that took longer: `failed` or `cancelled`."""
    allow_blocks_to_fail: bool | None = None
    settings: Config = _EMPTY
    """All of them, as they are written."""


class Triggers(NamedTuple):
    """The triggers of one pipeline by name, and what is wrong with their file."""

    by_name: Mapping[str, Trigger] = {}
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load_triggers(project: Project, pipeline: str) -> Triggers:
    """Read the triggers of a pipeline that exists; what is wrong with them is returned, since few runs need them."""
    where = f"pipelines/{pipeline}/{TRIGGERS}"
    try:
        path = files.inside(project.path, where, where=where)
        if not path.is_file():
            return Triggers()
        document = yaml_text.parse(files.read(path, where, yaml_text.LARGEST), where)
    except Invalid as error:
        return Triggers(problems=error.problems)
    if document is not None and not isinstance(document, dict):
        return Triggers(problems=(Problem(where, "must be a mapping of keys to values"),))
    return _triggers(document or {}, where)


def _triggers(document: Mapping[str, Any], where: str) -> Triggers:
    problems = Problems(where)
    fields = Fields(document, problems)
    found: dict[str, Trigger] = {}
    for inner in fields.each("triggers") if document.get("triggers") else ():
        trigger = _trigger(inner)
        if trigger.name in found:
            inner.problem("name", f"{trigger.name[:200]!r} is the name of another trigger, too")
        found[trigger.name] = trigger
    fields.has("triggers")
    fields.rest()
    try:
        problems.raise_any()
    except Invalid as error:
        return Triggers(found, error.problems, tuple(problems.warnings))
    return Triggers(found, (), tuple(problems.warnings))


def _trigger(fields: Fields) -> Trigger:
    name, settings = fields.text("name"), fields.inside("settings")
    if not name:
        fields.problem("name", "is missing")
    for key in _OTHERS:
        fields.raw(key)
    for key in _OTHER_SETTINGS:
        settings.raw(key)
    trigger = Trigger(
        name=name or "",
        variables=_variables(fields),
        timeout=_timeout(settings),
        timeout_status=settings.one_of("timeout_status", ("cancelled", "failed"), "") or None,
        allow_blocks_to_fail=settings.flag("allow_blocks_to_fail"),
        settings=fields.config("settings"),
    )
    settings.rest()
    fields.rest()
    return trigger


def _timeout(settings: Fields) -> float | None:
    """Read the seconds of a run; as in Mage, 0 is no limit."""
    timeout = settings.number("timeout")
    if timeout is not None and not 0 <= timeout <= _LONGEST:
        settings.problem("timeout", f"must be between 0 and {_LONGEST:,}")
        return None
    return timeout or None


def _variables(fields: Fields) -> Config:
    variables = fields.config("variables")
    try:
        json.dumps(variables, allow_nan=False)
    except ValueError:
        fields.problem("variables", "holds a number that JSON can't express: NaN or infinity")
        return {}
    return variables

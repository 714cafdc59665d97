"""How much of a pipeline may run at once: Mage's `concurrency_config`, and the variables that are its defaults.

Later wins, key by key, and null unsets: environment, project, pipeline, then the trigger's own `pipeline_run_limit`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects.fields import Fields, Problems

_VARIABLES: Final = {
    "block_run_limit": "CONCURRENCY_CONFIG_BLOCK_RUN_LIMIT",
    "pipeline_run_limit": "CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT",
}
_LIMITS: Final = ("block_run_limit", "pipeline_run_limit", "pipeline_run_limit_all_triggers")
_WHEN_REACHED: Final = "on_pipeline_run_limit_reached"
_MOST: Final = 1_000_000
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs of a pipeline may be running at once; None is no limit."""

    per_trigger: int | None = None
    """Mage's `pipeline_run_limit`: of one trigger. Runs without a trigger count as those of one more."""
    all_triggers: int | None = None
    """Mage's `pipeline_run_limit_all_triggers`."""
    skip: bool = False
    """A run that finds no room is cancelled; otherwise it waits."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """All that limits one pipeline, and what is wrong with how it was said."""

    block_run_limit: int | None = None
    """Tasks of one run that may be out at once."""
    limits: Limits | None = None
    """None where the number of runs has no limit."""
    problems: tuple[Problem, ...] = ()


def concurrency(
    project: Config, pipeline: Config, environment: Mapping[str, str], *, file: str, trigger: Config | None = None
) -> Concurrency:
    """Merge the `concurrency_config` of project and pipeline; `file` is the pipeline's document, in messages.

    `trigger` is the `settings` of the trigger that asks for the run: of them, `pipeline_run_limit` counts here.
    """
    own = {key: value for key, value in (trigger or {}).items() if key == "pipeline_run_limit" and value is not None}
    levels = (
        _checked(project, "metadata.yaml: concurrency_config"),
        _checked(pipeline, f"{file}: concurrency_config"),
        _checked(own, "trigger: settings"),
    )
    variables, problems = _variables(environment)
    merged = variables | {key: value for values, _ in levels for key, value in values.items()}
    return Concurrency(
        block_run_limit=merged.get("block_run_limit"),
        limits=_limits(merged),
        problems=(*problems, *(problem for _, found in levels for problem in found)),
    )


def _limits(merged: Config) -> Limits | None:
    per_trigger, all_triggers = merged.get("pipeline_run_limit"), merged.get("pipeline_run_limit_all_triggers")
    if per_trigger is None and all_triggers is None:
        return None
    return Limits(per_trigger, all_triggers, skip=merged.get(_WHEN_REACHED) == "skip")


def _checked(config: Config, where: str) -> tuple[Config, tuple[Problem, ...]]:
    """Return what one level says, and what is wrong with it."""
    problems = Problems(where)
    fields = Fields(config, problems)
    values: dict[str, Any] = {key: _limit(fields, key) for key in _LIMITS}
    values[_WHEN_REACHED] = fields.one_of(_WHEN_REACHED, ("wait", "skip"), "wait")
    for key in fields.rest():
        fields.problem(key, "is not known", partial(nearest, key, (*_LIMITS, _WHEN_REACHED)))
    try:
        problems.raise_any()
    except Invalid as error:
        return {}, error.problems
    return {key: value for key, value in values.items() if key in config}, ()


def _limit(fields: Fields, key: str) -> int | None:
    value = fields.number(key)
    if value is None or (isinstance(value, int) and 1 <= value <= _MOST):
        return value
    fields.problem(key, f"must be a whole number from 1 to {_MOST:,}")
    return None


def _variables(environment: Mapping[str, str]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    numbers = {key: environment.get(variable, "").strip() for key, variable in _VARIABLES.items()}
    return (
        {key: int(text) for key, text in numbers.items() if text and _is_limit(text)},
        tuple(_wrong_variables(numbers)),
    )


def _wrong_variables(numbers: Mapping[str, str]) -> Iterator[Problem]:
    for key, text in numbers.items():
        if text and not _is_limit(text):
            yield Problem(_VARIABLES[key], f"must be a whole number from 1 to {_MOST:,}, not {text[:50]!r}")


def _is_limit(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST

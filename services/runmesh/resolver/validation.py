"""Checking a merged configuration against its executor's `Config`, and reading what the mesh itself acts upon.

What is wrong is a `Fault`: a dotted path inside the configuration. Which block it concerns, and so where a person can
mend it, is known only to those who share the configuration.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any, Final, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runmesh.errors import MOST_PROBLEMS, nearest
from runmesh.events import Seconds
from runmesh.executor import ExecutorConfig, installed_types, load
from runmesh.flaws import fields_at, message_of
from runmesh.projects import holds_secret
from runmesh.resolver import mage
from runmesh.resolver.merging import Leaf, Origin, Tree, tree, values
from runmesh.settings import Pool

ModelT = TypeVar("ModelT", bound=BaseModel)
TIME_LIMITS: Final = ("wait_timeout", "timeout_seconds", "timeout")
"""Mage's names for how long a task may run, in seconds; -1 is no limit."""
_LONGEST_SHOWN: Final = 200
_OWN_WAY: Final[Mapping[str, str]] = {
    "local_python": "set an environment variable for the worker and name it in inherit_environment",
    "k8s": "use a Kubernetes secret: container.env with value_from.secret_key_ref",
    "ecs": "use `secrets` of the task definition, from Secrets Manager or the parameter store",
    "gcp_cloud_run": "expose a Secret Manager secret as an environment variable of the service",
    "azure_container_instance": "let the container group's `identity` read it from Key Vault",
    "pyspark": "let the job's IAM role read it from Secrets Manager",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong inside a configuration."""

    path: str
    message: str
    hint: str | None = None
    origin: Origin | None = None
    """The level that says it, where that isn't the one whose value holds in the end."""


class _Possible(BaseModel):
    """What the mesh can act upon: any other pool has no workers ever, any other time is none."""

    pool: Pool
    start_timeout: Seconds


def config_of(executor_type: str) -> type[ExecutorConfig] | None:
    """Return an executor's `Config`; None if there is no such type."""
    return _loaded(executor_type) if executor_type in installed_types() else None


@cache
def _loaded(executor_type: str) -> type[ExecutorConfig] | None:
    backend = load(executor_type)
    return backend.Config if backend else None


@cache
def remote_keys() -> frozenset[str]:
    """Return what can be said of remote executors only, ours and Mage's."""
    local = config_of("local_python") or ExecutorConfig
    others = (config_of(name) for name in installed_types() if not name.startswith("local_python"))
    return mage.REMOTE_KEYS.union(*(model.keys() for model in others if model)) - set(local.keys())


def canonical(executor_type: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one level's configuration in the spelling in which the levels of its executor type are merged."""
    model = config_of(executor_type)
    return model.canonical(config) if model else config


def canonical_paths(executor_type: str, path: str) -> tuple[str, ...]:
    """Return where in that spelling all that is said at a dotted path can be."""
    model = config_of(executor_type)
    return model.canonical_paths(path) if model else (path,)


def defaults_of(executor_type: str) -> Tree:
    """Return the built-in defaults of an executor's configuration; what is unset by default is left out."""
    model = config_of(executor_type)
    return _defaults(model) if model else {}


def beyond_defaults(executor_type: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration says besides built-in defaults: an executor has those itself.

    So one that is a version older gets no key that it doesn't know, unless somebody wrote it.
    """
    defaults = _plain_defaults(executor_type)
    return {key: value for key, value in config.items() if key not in defaults or defaults[key] != value}


@cache
def _plain_defaults(executor_type: str) -> Mapping[str, Any]:
    return values(defaults_of(executor_type))


@cache
def _defaults(model: type[ExecutorConfig]) -> Tree:
    fields = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    return tree(model.model_construct(**fields).model_dump(mode="json", exclude_none=True), Origin("default"))


def validate(executor_type: str, config: Mapping[str, Any]) -> tuple[ExecutorConfig, tuple[Fault, ...]]:
    """Return what the mesh acts upon (defaults where it is wrong), and all that is wrong.

    Of a type that doesn't exist only those keys are checked that all executors share.
    """
    model = config_of(executor_type)
    if model is None:
        model = ExecutorConfig
        config = {key: value for key, value in config.items() if key in ExecutorConfig.model_fields}
    found, faults = checked(model, config)
    if found is None:
        return ExecutorConfig(), faults
    return found, checked(_Possible, found.model_dump(include=set(_Possible.model_fields)))[1]


def checked(model: type[ModelT], document: Mapping[str, Any]) -> tuple[ModelT | None, tuple[Fault, ...]]:
    """Return a document as a model has it, or None and all that is wrong."""
    try:
        return model.model_validate(document), ()
    except ValidationError as error:
        return None, tuple(_fault(model, detail) for detail in error.errors(include_url=False)[:MOST_PROBLEMS])


def secrets(executor_type: str, leaves: Mapping[str, Leaf]) -> Iterator[Fault]:
    """Yield a fault for every value that still holds a secret function: it would reach the platform as text."""
    for path, leaf in leaves.items():
        if holds_secret(leaf.value):
            yield Fault(path, "secret functions can't reach an executor's configuration", _OWN_WAY.get(executor_type))


def time_limit(config: Mapping[str, object]) -> tuple[float | None, tuple[Fault, ...]]:
    """Return the smallest positive time limit in seconds (None: no limit), and those that are no number."""
    said = {key: config[key] for key in TIME_LIMITS if key in config}
    numbers = [float(value) for value in said.values() if _is_number(value)]
    faults = (
        Fault(key, f"must be a number of seconds, not {value!r}", "-1 is none")
        for key, value in said.items()
        if not _is_number(value)
    )
    return smallest(*numbers), tuple(faults)


def smallest(*limits: float | None) -> float | None:
    """Return the smallest positive limit; None if there is none."""
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _fault(model: type[BaseModel], detail: ErrorDetails) -> Fault:
    path = ".".join(map(str, detail["loc"]))[:_LONGEST_SHOWN]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(path, detail, _keys(model, detail))
        case "unknown_key":
            return Fault(path, detail["msg"], detail["ctx"]["hint"])
        case "missing":
            return Fault(path, "is required")
        case "model_type":
            return Fault(path, f"should be a mapping, not {repr(detail['input'])[:_LONGEST_SHOWN]}")
    hint = detail.get("ctx", {}).get("hint")
    return Fault(path, f"{message_of(detail)}, not {repr(detail['input'])[:_LONGEST_SHOWN]}", hint)


def _unknown(path: str, detail: ErrorDetails, known: Collection[str]) -> Fault:
    key = detail["loc"][-1]
    if key in known:  # one that has its place elsewhere, and could not be put there
        return Fault(path, f"can't be {repr(detail['input'])[:_LONGEST_SHOWN]}")
    return Fault(path, f"unknown key {key!r}", nearest(key, known))


def _keys(model: type[BaseModel], detail: ErrorDetails) -> Collection[str]:
    """Name the fields of the (nested) model in which the last part of the location stands."""
    if len(detail["loc"]) == 1 and issubclass(model, ExecutorConfig):
        return model.keys()
    return fields_at(model, detail["loc"])

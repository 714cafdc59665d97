"""An installation's guard rails: what every project and request gets, may at most ask for, and may not set.

One YAML file, named by RUNMESH_POLICY and read once at start::

    allow_inline: false           # both can only forbid what the settings allow
    allow_overrides: false
    executors:
      k8s:
        enabled: true             # false: as if this type were not here
        enforce: false            # true: `config` beats every level; false: it fills gaps, just above the environment
        config: {namespace: batch}
        max: {resource_limits: {cpu: 4, memory: 8Gi}}
        forbid: [pod.volumes]     # no project and no request may set these, or anything inside them

Besides, what Mage documents for Kubernetes: the file that K8S_DEFAULT_CONFIG_PATH names (`enabled`, `enforce`, and the
configuration's keys beside them), the one that K8S_CONFIG_FILE names (Mage's own template of a Job, which is no policy,
but the installation's defaults), and the variables K8S_EXECUTOR_MAX_RESOURCE_{REQUESTS,LIMITS}_{CPU,MEMORY}. Only
`read` reads files.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from runmesh.errors import Invalid, Problem, nearest
from runmesh.executor import installed_types
from runmesh.executors.kubernetes.quantities import quantity
from runmesh.projects import yaml_text
from runmesh.resolver.choice import Skipped
from runmesh.resolver.maxima import Maximum, maxima_of, maximum, no_quantity, tightest
from runmesh.resolver.merging import Origin, Tree, leaves, tree, values, without_nulls
from runmesh.resolver.validation import Fault, canonical, canonical_paths, checked, config_of, validate

FILE: Final = "RUNMESH_POLICY"
MAGE_FILE: Final = "K8S_DEFAULT_CONFIG_PATH"
CONFIG_FILE: Final = "K8S_CONFIG_FILE"


@dataclass(frozen=True, slots=True)
class Guard:
    """The policy for one executor type."""

    source: str = ""
    """The file that says so."""
    filled: Tree = field(default_factory=dict)
    """Holds where no level says otherwise."""
    enforced: Tree = field(default_factory=dict)
    """Holds whatever the levels say."""
    maxima: Mapping[str, Maximum] = field(default_factory=dict)
    """By dotted path."""
    forbid: tuple[str, ...] = ()
    """Dotted paths."""
    file: Tree = field(default_factory=dict)
    """What the installation's own configuration file says (K8S_CONFIG_FILE), just above the environment's variables."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of an installation."""

    guards: Mapping[str, Guard] = field(default_factory=dict)
    """By executor type."""
    allow_inline: bool = True
    allow_overrides: bool = True
    source: str = ""
    """The file that says so."""

    def guard(self, executor_type: str) -> Guard:
        """Return what holds for one executor type."""
        return self.guards.get(executor_type, _NO_GUARD)


_NO_GUARD: Final = Guard()


# --- what it means for one task ----------------------------------------------------------------------


def replaced(below: Tree, above: Tree, source: str) -> Iterator[Skipped]:
    """Yield every value that the policy takes the place of."""
    theirs = dict(leaves(above))
    for path, leaf in leaves(below):
        key = next((key for key in theirs if _overlap(path, key)), None)
        if key and (path, leaf.value) != (key, theirs[key].value):
            reason = f"the policy sets {key} to {theirs[key].value!r} ({source})"
            yield Skipped(leaf.origin, {path: leaf.value}, reason)


def forbidden(guard: Guard, levels: Iterable[Tree]) -> Iterator[Fault]:
    """Yield a fault for every forbidden key that a level sets, even if only to null."""
    for path, leaf in (each for level in levels for each in leaves(level)):
        if any(_overlap(path, key) for key in guard.forbid):
            yield Fault(path, f"the policy forbids to set {path} ({guard.source})", origin=leaf.origin)


def _overlap(one: str, two: str) -> bool:
    """Say whether one dotted path is the other, or inside it."""
    return f"{one}.".startswith(f"{two}.") or f"{two}.".startswith(f"{one}.")


# --- reading it --------------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool = True
    enforce: bool = False
    config: dict[str, Any] = {}
    max: dict[str, Any] = {}
    forbid: list[str] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    allow_inline: bool = True
    allow_overrides: bool = True
    executors: dict[str, _Section] = {}


def read(environment: Mapping[str, str]) -> Policy:
    """Read the policy that the environment names; no file and no variable allow all. Raises `Invalid`."""
    documents = {
        name: _document(name, environment[name]) for name in (FILE, MAGE_FILE, CONFIG_FILE) if environment.get(name)
    }
    policy = policy_of(documents[FILE], environment[FILE]) if FILE in documents else Policy()
    guards = dict(policy.guards)
    if MAGE_FILE in documents:
        if "k8s" in guards:
            raise Invalid(Problem(MAGE_FILE, f"{environment[FILE]} has a policy for k8s, too", "keep one of them"))
        guards["k8s"] = mages_guard(documents[MAGE_FILE], environment[MAGE_FILE])
    if maxima := maxima_of(environment):
        guard = guards.get("k8s", _NO_GUARD)
        guards["k8s"] = replace(guard, maxima=tightest(guard.maxima, maxima))
    if CONFIG_FILE in documents:
        said = _file(documents[CONFIG_FILE], environment[CONFIG_FILE])
        guards["k8s"] = replace(guards.get("k8s", _NO_GUARD), file=said)
    return replace(policy, guards={name: _closed(name, guard) for name, guard in guards.items()})


def _file(document: Mapping[str, Any], file: str) -> Tree:
    """Return what Mage's configuration file for Kubernetes says. Raises `Invalid` with all that is wrong."""
    said = tree(canonical("k8s", document), Origin("environment", file))
    faults = validate("k8s", values(without_nulls(said)))[1]
    if problems := [Problem(f"{file}: {fault.path}", fault.message, fault.hint) for fault in faults]:
        raise Invalid(*problems)
    return said


def _closed(executor_type: str, guard: Guard) -> Guard:
    """Forbid whatever could say by another way what the guard rails are about."""
    model = config_of(executor_type)
    if model is None or not (guard.forbid or guard.maxima or guard.enforced):
        return guard
    return replace(guard, forbid=(*guard.forbid, *model.unguarded))


def _document(variable: str, file: str) -> Mapping[str, Any]:
    hint = f"{variable} names this file"
    try:
        document = yaml_text.parse(Path(file).read_text(encoding="utf-8"), file)
    except OSError as error:
        raise Invalid(Problem(file, f"can't be read: {error.strerror or error}", hint)) from None
    except UnicodeDecodeError:
        raise Invalid(Problem(file, "is no UTF-8 text", hint)) from None
    if not isinstance(document, Mapping):
        raise Invalid(Problem(file, "must be a mapping of keys to values", hint))
    return document


def policy_of(document: Mapping[str, Any], file: str) -> Policy:
    """Return the policy that a document says. Raises `Invalid` with all that is wrong."""
    model, faults = checked(_File, document)
    problems = [Problem(f"{file}: {fault.path}", fault.message, fault.hint) for fault in faults]
    if model is None:
        raise Invalid(*problems)
    guards: dict[str, Guard] = {}
    for name, section in model.executors.items():
        where = f"{file}: executors.{name}"
        if name not in installed_types():
            problems.append(Problem(where, f"unknown executor type {name!r}", nearest(name, installed_types())))
        problems += _wrong(name, section, f"{where}.", f"{where}.config.")
        if section.enabled and not problems:
            guards[name] = _guard(name, section, Path(file).name)
    if problems:
        raise Invalid(*problems)
    return Policy(guards, model.allow_inline, model.allow_overrides, Path(file).name)


def mages_guard(document: Mapping[str, Any], file: str) -> Guard:
    """Return the policy for k8s that a document in Mage's format says. Raises `Invalid` with all that is wrong."""
    switches = {key: document[key] for key in ("enabled", "enforce") if key in document}
    config = {key: value for key, value in document.items() if key not in switches}
    section, faults = checked(_Section, {**switches, "config": config})
    problems = [Problem(f"{file}: {fault.path}", fault.message, fault.hint) for fault in faults]
    if section is not None:
        problems += _wrong("k8s", section, f"{file}: ", f"{file}: ")
    if section is None or problems:
        raise Invalid(*problems)
    return _guard("k8s", section, Path(file).name) if section.enabled else _NO_GUARD


def _guard(executor_type: str, section: _Section, source: str) -> Guard:
    config = tree(canonical(executor_type, section.config), Origin("policy"))
    maxima = (
        (each, maximum(leaf.value, source))
        for path, leaf in leaves(tree(section.max, Origin("policy")))
        for each in canonical_paths(executor_type, path)
    )
    return Guard(
        source=source,
        filled={} if section.enforce else config,
        enforced=config if section.enforce else {},
        maxima=dict(maxima),
        forbid=tuple(each for path in section.forbid for each in canonical_paths(executor_type, path)),
    )


def _wrong(executor_type: str, section: _Section, where: str, of_config: str) -> Iterator[Problem]:
    """Yield what is wrong inside one type's policy; a key that is required may come from the projects."""
    said = values(without_nulls(tree(section.config, Origin("policy"))))
    for fault in validate(executor_type, said)[1]:
        if fault.message != "is required":
            yield Problem(f"{of_config}{fault.path}", fault.message, fault.hint)
    for path, leaf in leaves(tree(section.max, Origin("policy"))):
        if quantity(leaf.value) is None:
            yield no_quantity(f"{where}max.{path}", leaf.value)
    yield from _unknown(executor_type, section.max, f"{where}max")
    yield from _unknown(executor_type, section.forbid, f"{where}forbid")


def _unknown(executor_type: str, paths: Iterable[str], where: str) -> Iterator[Problem]:
    """Yield a problem for every path that starts with no key of the executor: it would guard nothing."""
    model = config_of(executor_type)
    for path in paths if model else ():
        key = canonical_paths(executor_type, path)[0].partition(".")[0]
        if model and key not in model.model_fields:
            yield Problem(f"{where}: {path}", f"unknown key {key!r}", nearest(key, model.keys()))

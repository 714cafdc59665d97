"""One spelling and one place for everything that a configuration can say, so that its levels merge.

What concerns a Kubernetes object has the API's own field names, below `container`, `pod`, `job` and `metadata`. People
also write it in snake_case, or at the top (``tolerations``, ``env_from``), or where Mage has it: in `container_config`,
which is the container once more and wins over it. Four things have their place at the top, as in Mage:
``resource_limits`` and ``resource_requests`` (which take the place of all of ``container.resources``),
``service_account_name``, and ``namespace`` (of which ``metadata.namespace`` is the stronger spelling).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from runmesh.executors.kubernetes.fields import TYPES, plain
from runmesh.executors.kubernetes.patching import is_operation
from runmesh.executors.kubernetes.shapes import read

Config = Mapping[str, Any]

OBJECTS: Final[Mapping[str, str]] = {
    "container": "Container",
    "container_config": "Container",
    "pod": "PodSpec",
    "job": "JobSpec",
    "metadata": "ObjectMeta",
}
"""The keys that hold an object of the API, and its type."""
_SHORTHANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "container": ("image", "image_pull_policy", "env", "env_from", "volume_mounts"),
    "pod": (
        *("affinity", "host_aliases", "image_pull_secrets", "init_containers", "node_selector", "priority_class_name"),
        *("runtime_class_name", "scheduler_name", "tolerations", "topology_spread_constraints", "volumes"),
        "termination_grace_period_seconds",
    ),
    "job": ("active_deadline_seconds", "backoff_limit", "pod_failure_policy", "suspend", "ttl_seconds_after_finished"),
    "metadata": ("annotations", "labels"),
}
_SECURITY: Final = "security_context"
SHORTHANDS: Final = (*(name for names in _SHORTHANDS.values() for name in names), _SECURITY)
"""What may be written at the top as well as inside its object."""
_PLACES: Final = {plain(name): (place, name) for place, names in _SHORTHANDS.items() for name in names}
_OF_PODS_ALONE: Final = TYPES["PodSecurityContext"].keys() - TYPES["SecurityContext"].keys()
_MAGES_NAME: Final = "mage-data"
"""What Mage calls the container where there is a `container_config` that doesn't say."""


_NAMES: Final = ("job_name_prefix", "namespace", "service_account_name")
_RESOURCES: Final = ("resource_limits", "resource_requests", "container.resources")
_SPREAD: Final[Mapping[str, tuple[str, ...]]] = {
    "container.resources": _RESOURCES,
    "containerconfig.resources": _RESOURCES,
    "containerconfig": ("container", *_RESOURCES),
    "container": ("container", *_RESOURCES),
    "metadata": ("metadata", "namespace"),
    "pod": ("pod", "service_account_name", "grace_period"),
    "securitycontext": ("pod.securityContext", "container.securityContext"),
}
"""What has more than one place, by its plain path."""
_MARKER: Final = object()


def canonical(config: Config, keys: Iterable[str]) -> dict[str, Any]:
    """Return one level's configuration with everything in its place; `keys` are those that stay at the top.

    What can't be understood is left as it is, for the validation of the whole to complain about.
    """
    tops = {plain(key): key for key in (*keys, *OBJECTS)}
    found: dict[str, Any] = {}
    short: dict[str, dict[str, Any]] = {place: {} for place in _SHORTHANDS}
    for key, value in config.items():
        name = plain(str(key))
        if name in tops:
            found[tops[name]] = value
        elif name in _PLACES:
            place, field = _PLACES[name]
            short[place][field] = value
        elif name == plain(_SECURITY) and isinstance(value, Mapping):
            _secure(short, value)
        else:
            found[str(key)] = value
    for place, shorthands in short.items():
        found |= _filled(place, found, shorthands)
    _fold_container_config(found)
    _raise_to_top(found)
    if found.get("patch") is not None:
        found["patch"] = _parts(found["patch"])
    return found


def places(name: str) -> tuple[str, ...]:
    """Return where something belongs that may also be written at the top."""
    return canonical_paths(name, ())


def canonical_paths(path: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return where in the canonical spelling all that is said at a dotted path can be."""
    whole = _SPREAD.get(".".join(plain(part) for part in path.split(".")))
    return whole or (_path(canonical(_planted(path.split(".")), keys)),)


def _planted(path: list[str]) -> dict[str, Any]:
    inside: Any = _MARKER
    for key in reversed(path):
        inside = {key: inside}
    return {**inside}


def _path(config: Config) -> str:
    """Return the dotted path of the marker: of a configuration's only value that isn't a name it brings along."""
    for key, value in config.items():
        if value is _MARKER or value == str(_MARKER):
            return key
        if isinstance(value, Mapping) and (found := _path(value)):
            return f"{key}.{found}"
    return ""


def _parts(patch: Any) -> Any:
    """Return a patch as a list, since its nulls are its own; strategic merge patches are spelled as the API does."""
    parts = [patch] if isinstance(patch, Mapping) else patch
    if not isinstance(parts, list | tuple) or not all(isinstance(part, Mapping) for part in parts):
        return patch
    return [dict(part) if is_operation(part) else read("Job", part)[0] for part in parts]


def _secure(short: dict[str, dict[str, Any]], context: Config) -> None:
    """Give the pod what only pods know of a security context, and the container all else."""
    for key, value in context.items():
        place = "pod" if plain(str(key)) in _OF_PODS_ALONE else "container"
        short[place].setdefault("securityContext", {})[key] = value


def _filled(place: str, found: Config, shorthands: Config) -> dict[str, Any]:
    """Return one object as the API spells it, with the shorthands in it; nothing if there is nothing to say."""
    written = found.get(place)
    if not shorthands:
        return {place: read(OBJECTS[place], written)[0]} if isinstance(written, Mapping) else {}
    if written is not None and not isinstance(written, Mapping):
        return {}
    own, more = read(OBJECTS[place], written or {})[0], read(OBJECTS[place], shorthands)[0]
    return {place: {**own, **{key: _joined(own.get(key), value) for key, value in more.items()}}}


def _joined(own: Any, more: Any) -> Any:
    return {**own, **more} if isinstance(own, Mapping) and isinstance(more, Mapping) else more


def _fold_container_config(found: dict[str, Any]) -> None:
    """Make `container_config` a part of the container, as Mage merges the two: values win, lists are joined."""
    config, container = found.get("container_config"), found.get("container") or {}
    if not isinstance(config, Mapping) or not isinstance(container, Mapping):
        return
    del found["container_config"]
    config = {"name": _MAGES_NAME, **read("Container", config)[0]} if config else {}
    if resources := config.pop("resources", None):
        container = {**container, "resources": resources}
        found.pop("resource_limits", None)
        found.pop("resource_requests", None)
    found["container"] = {**container, **{key: _united(value, container.get(key)) for key, value in config.items()}}


def _united(stronger: Any, weaker: Any) -> Any:
    """Join two lists or mappings; of what has a name, the stronger one stays."""
    match stronger, weaker:
        case list(), list():
            names = {each["name"] for each in stronger if isinstance(each, Mapping) and "name" in each}
            kept = (each for each in weaker if not (isinstance(each, Mapping) and each.get("name") in names))
            return [*stronger, *(each for each in kept if each not in stronger)]
        case Mapping(), Mapping():
            return {**weaker, **stronger}
    return weaker if stronger is None else stronger


def _raise_to_top(found: dict[str, Any]) -> None:
    """Move what has its place at the top, and say of empty names that there are none, as Mage reads them."""
    if (namespace := _taken(found, "metadata", "namespace")) is not None:
        found["namespace"] = namespace
    for name in ("serviceAccount", "serviceAccountName"):
        if (account := _taken(found, "pod", name)) and not found.get("service_account_name"):
            found["service_account_name"] = account
    found.update({name: None for name in _NAMES if found.get(name) == ""})
    if (grace := _taken(found, "pod", "terminationGracePeriodSeconds")) is not None:
        found.setdefault("grace_period", grace)
    if not isinstance((found.get("container") or {}).get("resources"), Mapping):
        return
    resources = _taken(found, "container", "resources")
    if not found.get("resource_limits") and not found.get("resource_requests"):
        moved = {f"resource_{kind}": resources[kind] for kind in ("limits", "requests") if kind in resources}
        found.update(moved)
    if rest := {key: value for key, value in resources.items() if key not in ("limits", "requests")}:
        found["container"] = {**found["container"], "resources": rest}


def _taken(found: dict[str, Any], place: str, name: str) -> Any:
    """Take a field out of its object."""
    inside = found.get(place)
    if not isinstance(inside, Mapping) or name not in inside:
        return None
    found[place] = {key: value for key, value in inside.items() if key != name}
    return inside[name]

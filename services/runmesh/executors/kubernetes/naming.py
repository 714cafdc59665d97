"""Names, labels and annotations of our Jobs: legal on every cluster, and unique by the task's key.

Kubernetes allows 63 characters of lower-case letters, digits and ``-`` in a name, and 63 of letters, digits, ``-_.`` in
a label's value. What doesn't fit is cut, and tells itself apart by a digest; annotations hold the unabridged values.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from runmesh.executor import Task
from runmesh.executors.kubernetes.config import PLACEHOLDERS, Config
from runmesh.platforms.identity import block_name, digest, identity, of_task, plain

_OURS: Final = "runmesh.dev/"
MESH: Final = f"{_OURS}mesh"
POOL: Final = f"{_OURS}pool"
KEY: Final = f"{_OURS}key"
_LONGEST: Final = 63
_DIGEST: Final = 8
URL: Final = f"{_OURS}url"
"""The annotation that says where a person can look at a Job."""


def job_name(task: Task[Config], mesh: str) -> str:
    """Return the Job's name, ``{mesh}-{prefix}-block-{key}``, its readable part cut where it is too long."""
    key = task.key if _is_name(task.key) and len(task.key) <= _LONGEST // 2 else digest(task.key, 20)
    readable = f"{plain(mesh) or 'x'}-{plain(task.config.job_name_prefix) or 'x'}"
    return block_name(readable, task, key, _LONGEST)


def labels(task: Task[Config], *, mesh: str, pool: str) -> dict[str, str]:
    """Return the labels by which a task's Job and its pods are known."""
    return {name: label_value(value) for name, value in identity(task, _OURS, mesh=mesh, pool=pool).items()}


def annotations(task: Task[Config]) -> dict[str, str]:
    """Return what the labels say, unabridged, and the labels of the run's request."""
    own = {f"labels.runmesh.dev/{label_value(name)}": value for name, value in task.labels.items() if name}
    return own | of_task(task, _OURS)


def url(task: Task[Config], name: str, namespace: str) -> str | None:
    """Return where a person can look at a Job, if the configuration says."""
    known = {each: getattr(task, each) for each in PLACEHOLDERS[2:]} | {"namespace": namespace, "name": name}
    return task.config.url and re.sub(r"\{(\w+)\}", lambda found: quote(known[found[1]], safe=""), task.config.url)


def selector(mesh: str, pool: str) -> str:
    """Return the label selector of all our Jobs and pods in one pool of one mesh."""
    return f"{MESH}={label_value(mesh)},{POOL}={label_value(pool)}"


def key_of(thing: Mapping[str, Any]) -> str | None:
    """Return the task's key of a Job or a pod, from its annotation; None if it is not ours."""
    metadata = thing.get("metadata") or {}
    found = (metadata.get("annotations") or {}).get(KEY) or (metadata.get("labels") or {}).get(KEY)
    return found if isinstance(found, str) else None


def label_value(text: str) -> str:
    """Return a legal value of a label that differs where the text differs."""
    legal = re.sub(r"[^A-Za-z0-9_.-]", "-", text).strip("-_.")
    if legal == text and len(text) <= _LONGEST:
        return text
    return f"{legal[: _LONGEST - _DIGEST - 1].strip('-_.')}-{digest(text, _DIGEST)}".lstrip("-")


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", text) is not None

"""Names of our tasks on ECS: the token that makes a submission unique, tags, handles, and a page for people.

A handle is the task's ARN, behind a ``?`` the endpoint and the role where they are not the usual ones.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from runmesh.executor import Handle, Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs.config import Config
from runmesh.platforms.identity import identity

_OURS: Final = "runmesh:"
MESH: Final = f"{_OURS}mesh"
POOL: Final = f"{_OURS}pool"
KEY: Final = f"{_OURS}key"
_LONGEST_TOKEN: Final = 64
_LONGEST_NAME: Final = 128
_LONGEST_VALUE: Final = 256
_CONSOLES: Final = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}


def token(mesh: str, key: str) -> str:
    """Return what makes a submission idempotent, and finds it: two meshes of one account may have the same key."""
    text = f"{mesh}-{key}"
    if len(text) <= _LONGEST_TOKEN and re.fullmatch(r"[A-Za-z0-9_-]+", text):
        return text
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def tags(task: Task[Config], *, mesh: str, pool: str) -> dict[str, str]:
    """Return the tags of a task: those of the configuration, the request's labels, and ours."""
    ours = identity(task, _OURS, mesh=mesh, pool=pool)
    labels = dict(list(task.labels.items())[: 50 - len(ours) - len(task.config.tags)])
    found = {**labels, **task.config.tags, **ours}
    return {_legal_name(name): _legal(value, _LONGEST_VALUE) for name, value in found.items() if name}


def is_of(found: Mapping[str, Any], task: Task[Config], *, mesh: str, pool: str) -> bool:
    """Whether a described task is the one of this task's key."""
    theirs = tags_of(found)
    ours = tags(task, mesh=mesh, pool=pool)
    return all(theirs.get(name) == ours[name] for name in (MESH, POOL, KEY))


def key_of(found: Mapping[str, Any], *, mesh: str, pool: str) -> str | None:
    """Return the key of a described task; None if it is none of this mesh's pool."""
    theirs = tags_of(found)
    ours = theirs.get(MESH) == _legal(mesh, _LONGEST_VALUE) and theirs.get(POOL) == _legal(pool, _LONGEST_VALUE)
    return theirs.get(KEY) if ours else None


def tags_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a described task."""
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags") or ()}


def handle_of(arn: str, access: Access) -> Handle:
    """Return the handle of a task."""
    return Handle(f"{arn}?{access.query}" if access.query else arn)


def arn_of(handle: Handle) -> str:
    """Return the ARN of a handle."""
    return handle.partition("?")[0]


def access_of(handle: Handle) -> Access:
    """Return how a handle's task is reached."""
    arn, _, query = handle.partition("?")
    return Access.of_arn(arn, query)


def cluster_of(arn: str) -> str:
    """Return the name of the cluster of a task's ARN."""
    return arn.split("/")[1]


def id_of(arn: str) -> str:
    """Return the task's id."""
    return arn.rsplit("/", 1)[-1]


def url(arn: str) -> str:
    """Return the task's page in the console."""
    _, partition, _, region, *_ = arn.split(":")
    console = _CONSOLES.get(partition, f"{region}.console.aws.amazon.com")
    return f"https://{console}/ecs/v2/clusters/{cluster_of(arn)}/tasks/{id_of(arn)}?region={region}"


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the API takes them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def groups(handles: Iterable[Handle]) -> dict[tuple[Access, str], list[Handle]]:
    """Group handles by what one call can answer for."""
    found: dict[tuple[Access, str], list[Handle]] = {}
    for handle in handles:
        found.setdefault((access_of(handle), cluster_of(arn_of(handle))), []).append(handle)
    return found


def _legal_name(text: str) -> str:
    """Return a tag's name: those that begin with ``aws:`` are AWS's own."""
    return re.sub(r"^(aws):", r"\1_", _legal(text, _LONGEST_NAME), flags=re.IGNORECASE)


def _legal(text: str, longest: int) -> str:
    return re.sub(r"[^\w +\-=.:/@]", "_", text)[:longest]

r"""Names of our container groups: where they are, what they are called, whose they are, and a page for people.

A handle is the group's resource id. Azure takes 63 characters of lower-case letters, digits and single hyphens in a
group's name. In a tag's name it takes neither ``<>%&\?/`` nor a beginning of its own, and no difference of case only.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, unquote

from runmesh.executor import Handle, Task
from runmesh.executors.azure.config import Config
from runmesh.platforms.identity import block_name, identity, plain

CONTAINER: Final = "task"
"""The container that runs a task's command, in every group of ours."""
_OURS: Final = "runmesh-"
MESH: Final = f"{_OURS}mesh"
POOL: Final = f"{_OURS}pool"
KEY: Final = f"{_OURS}key"
_LONGEST: Final = 63
_LONGEST_TAG: Final = 256
_MOST_TAGS: Final = 50
_RESERVED: Final = ("microsoft", "azure", "windows")
_PORTALS: Final = {
    "management.usgovcloudapi.net": "portal.azure.us",
    "management.chinacloudapi.cn": "portal.azure.cn",
}


class Place(NamedTuple):
    """A resource group of a subscription."""

    subscription: str
    resource_group: str

    @classmethod
    def of(cls, handle: Handle) -> Self:
        """Return where a group is."""
        _, _, subscription, _, resource_group, *_ = handle.split("/")
        return cls(unquote(subscription), unquote(resource_group))

    @property
    def path(self) -> str:
        """The resource group's own id."""
        return f"/subscriptions/{quote(self.subscription)}/resourceGroups/{quote(self.resource_group)}"

    @property
    def groups(self) -> str:
        """Where its container groups are."""
        return f"{self.path}/providers/Microsoft.ContainerInstance/containerGroups"

    def handle(self, name: str) -> Handle:
        """Return the handle of a group here."""
        return Handle(f"{self.groups}/{quote(name)}")


def group_name(task: Task[Config], mesh: str) -> str:
    """Return the group's name, ``{mesh}-block-{key}``, its readable part cut where it is too long."""
    fits = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", task.key) and len(task.key) <= _LONGEST // 2
    key = task.key if fits else hashlib.sha256(task.key.encode(errors="surrogatepass")).hexdigest()[:20]
    return block_name(plain(mesh) or "mesh", task, key, _LONGEST)


def tags(task: Task[Config], inherited: Mapping[str, str] | None = None, *, mesh: str, pool: str) -> dict[str, str]:
    """Return the tags of a group: inherited ones, the request's labels, those of the configuration, and ours."""
    ours = identity(task, _OURS, mesh=mesh, pool=pool)
    given = _told_apart({**task.labels, **(inherited or {})})
    own = _told_apart(task.config.tags)
    few = dict(list(given.items())[: _MOST_TAGS - len(ours) - len(own)])
    found = _told_apart({**few, **own, **ours})
    return {name: value[:_LONGEST_TAG] for name, value in found.items()}


def _told_apart(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with legal names; of those that differ in case only, the last."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in tags.items():
        legal = re.sub(r"[<>%&\\?/]", "_", name)[:_LONGEST_TAG]
        legal = f"_{legal}"[:_LONGEST_TAG] if legal.lower().startswith(_RESERVED) else legal
        if legal:
            found[legal.lower()] = legal, value
    return dict(found.values())


def is_of(found: Mapping[str, Any], task: Task[Config], *, mesh: str, pool: str) -> bool:
    """Whether a group is the one of this task's key."""
    ours, theirs = tags(task, mesh=mesh, pool=pool), found.get("tags") or {}
    return all(theirs.get(name) == ours[name] for name in (MESH, POOL, KEY))


def key_of(found: Mapping[str, Any], *, mesh: str, pool: str) -> str | None:
    """Return the key of a group; None if it is none of this mesh's pool."""
    theirs = found.get("tags") or {}
    ours = theirs.get(MESH) == mesh[:_LONGEST_TAG] and theirs.get(POOL) == pool[:_LONGEST_TAG]
    return theirs.get(KEY) if ours else None


def url(handle: Handle, endpoint: str) -> str:
    """Return the group's page in the portal."""
    host = endpoint.partition("://")[2].strip("/")
    return f"https://{_PORTALS.get(host, 'portal.azure.com')}/#resource{handle}/overview"

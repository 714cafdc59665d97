"""The objects, each with the version of its last change, and all changes since a while: what etcd is to the API server.

What is written is encoded once, for however many watch it. Objects that `get` returns belong to the cluster's own
parts: they change them, and `write` says so to everybody.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

from pydantic_core import to_json

MOST_CHANGES: Final = 200_000

Object = dict[str, Any]


class Change(NamedTuple):
    """One change, ready to be sent to whoever watches."""

    version: int
    type: str
    kind: str
    namespace: str
    labels: dict[str, str]
    line: bytes


class Store:
    """All objects by kind (``jobs``, ``pods``, …), namespace and name."""

    def __init__(self) -> None:
        self.version = 1000
        self.oldest = self.version
        """Changes up to this version are forgotten."""
        self.changes: list[Change] = []
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._news = asyncio.Event()

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object."""
        return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind, in the order of their names."""
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def create(self, kind: str, found: Object) -> Object:
        """Add an object."""
        found["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": now()}
        return self.write(kind, found, "ADDED")

    def write(self, kind: str, changed: Object, what: str = "MODIFIED") -> Object:
        """Store an object as it is now."""
        self.version += 1
        meta = changed["metadata"]
        meta["resourceVersion"] = str(self.version)
        self._objects.setdefault(kind, {})[meta["namespace"], meta["name"]] = changed
        self._tell(what, kind, changed)
        return changed

    def remove(self, kind: str, gone: Object) -> None:
        """Remove an object, if it is there."""
        meta = gone["metadata"]
        if self._objects.get(kind, {}).get((meta["namespace"], meta["name"])) is not gone:
            return
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        del self._objects[kind][meta["namespace"], meta["name"]]
        self._tell("DELETED", kind, gone)

    def compact(self) -> None:
        """Forget what changed so far: whoever wants to go on from there must list again."""
        self.changes.clear()
        self.oldest = self.version

    def since(self, version: int) -> Iterator[Change]:
        """Return what changed after a version."""
        first = bisect_right(self.changes, version, key=lambda change: change.version)
        yield from self.changes[first:]

    async def news(self) -> None:
        """Wait for the next change."""
        await self._news.wait()

    def _tell(self, what: str, kind: str, changed: Object) -> None:
        meta = changed["metadata"]
        line = to_json({"type": what, "object": changed}) + b"\n"
        self.changes.append(Change(self.version, what, kind, meta["namespace"], meta.get("labels") or {}, line))
        if len(self.changes) > 2 * MOST_CHANGES:
            self.oldest = self.changes[MOST_CHANGES - 1].version
            del self.changes[:MOST_CHANGES]
        self._news.set()
        self._news = asyncio.Event()


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

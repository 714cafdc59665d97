"""Lists, in pages, and watches, with bookmarks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from tests.emulators.kubernetes import selectors
from tests.emulators.kubernetes.status import Status
from tests.emulators.kubernetes.store import Object, Store

_VERSIONS: Final = {"jobs": ("batch/v1", "Job"), "pods": ("v1", "Pod"), "events": ("v1", "Event")}
_LONGEST: Final = 1800.0


class Reading:
    """Answers lists and watches from a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bookmark_every = 1.0
        self.bookmarks = 0
        """How many were told."""
        self.gone_by_status = False
        """An old version is answered with HTTP 410, instead of an event that says so: real servers do both."""
        self.tired = False
        """Every watch is ended as soon as it is opened, as by a proxy before the API server."""
        self._open: set[asyncio.Transport] = set()

    @property
    def open(self) -> int:
        """How many answers are given piece by piece now: watches, and logs that are followed."""
        return len(self._open)

    def drop(self) -> None:
        """Cut all of them."""
        for connection in list(self._open):
            connection.abort()

    @asynccontextmanager
    async def answering(self, request: web.Request, kind: str) -> AsyncIterator[web.StreamResponse]:
        """Answer piece by piece for the length of the block."""
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.enable_chunked_encoding()
        await response.prepare(request)
        connection = request.transport
        assert connection
        self._open.add(connection)
        try:
            yield response
        except ConnectionError:
            pass
        finally:
            self._open.discard(connection)

    def list(self, kind: str, namespace: str, query: Mapping[str, str]) -> web.Response:
        """Return a page of what is there now."""
        start, version = self._place(query.get("continue"))
        matches = selectors.labels(query.get("labelSelector", ""))
        found = [
            item
            for item in self.store.all(kind, namespace)
            if item["metadata"]["name"] > start
            and matches(item["metadata"].get("labels") or {})
            and selectors.fields(query.get("fieldSelector", ""), item)
        ]
        limit = int(query.get("limit") or 0) or len(found)
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if len(found) > limit:
            meta |= {"continue": f"{version}:{found[limit - 1]['metadata']['name']}"}
            meta |= {"remainingItemCount": len(found) - limit}
        api, name = _VERSIONS[kind]
        body = {"kind": f"{name}List", "apiVersion": api, "metadata": meta, "items": found[:limit]}
        return web.json_response(body=to_json(body))

    async def watch(self, kind: str, namespace: str, request: web.Request) -> web.StreamResponse:
        """Tell of every change until the caller has enough, or its time is over."""
        query = request.query
        version = self._version(query)
        if version < self.store.oldest and self.gone_by_status:
            raise self._expired(version)
        async with self.answering(request, "application/json") as response:
            if not self.tired:
                await self._tell(response, kind, namespace, version, query)
        return response

    async def _tell(
        self, response: web.StreamResponse, kind: str, namespace: str, version: int, query: Mapping[str, str]
    ) -> None:
        matches = selectors.labels(query.get("labelSelector", ""))
        until = _now() + float(query.get("timeoutSeconds") or _LONGEST)
        bookmarks = selectors.flag(query, "allowWatchBookmarks")
        while True:
            if version < self.store.oldest:
                await response.write(to_json({"type": "ERROR", "object": self._expired(version).body}) + b"\n")
                return
            lines, version = self._news(kind, namespace, version, matches)
            if lines:
                await response.write(lines)
            elif _now() >= until:
                return
            elif not await self._changed(min(self.bookmark_every, until - _now())) and bookmarks:
                await response.write(_bookmark(kind, version))
                self.bookmarks += 1

    def _news(
        self, kind: str, namespace: str, version: int, matches: Callable[[Mapping[str, str]], bool]
    ) -> tuple[bytes, int]:
        lines = []
        for change in self.store.since(version):
            version = change.version
            if change.kind == kind and change.namespace == namespace and matches(change.labels):
                lines.append(change.line)
        return b"".join(lines), version

    async def _changed(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self.store.news()
        except TimeoutError:
            return False
        return True

    def _version(self, query: Mapping[str, str]) -> int:
        asked = int(query.get("resourceVersion") or 0)
        if not asked:
            raise Status(400, "this emulator watches from a version only")
        return asked

    def _place(self, token: str | None) -> tuple[str, int]:
        if token is None:
            return "", self.store.version
        version, _, name = token.partition(":")
        if int(version) < self.store.oldest:
            raise Status(410, "The provided continue parameter is too old to display a consistent list result.")
        return name, int(version)

    def _expired(self, version: int) -> Status:
        return Status(410, f"too old resource version: {version} ({self.store.oldest})")


def _bookmark(kind: str, version: int) -> bytes:
    api, name = _VERSIONS[kind]
    found: Object = {"kind": name, "apiVersion": api, "metadata": {"resourceVersion": str(version)}}
    return to_json({"type": "BOOKMARK", "object": found}) + b"\n"


def _now() -> float:
    return asyncio.get_running_loop().time()

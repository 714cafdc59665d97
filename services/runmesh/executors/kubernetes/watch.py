"""One kind of one namespace, kept in step: listed once, then watched from the list's version on, for ever.

A watch ends every minute or so and goes on where it was, which also finds out connections that died in silence.
Bookmarks move the version on while nothing happens. A version that is too old (410) has everything listed again.
"""

import asyncio
from random import uniform
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic_core import from_json

from runmesh.clock import clock
from runmesh.executor import Handle
from runmesh.executors.kubernetes.known import JOB_UID, JOBS, PODS, Known, short
from runmesh.executors.kubernetes.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.kubernetes.client import Client

log = structlog.get_logger(__name__)

PAGE: Final = 500
_LIST: Final = 60.0
"""Seconds for a page: whole objects, of which each may be large."""
_LASTS: Final = 60.0
"""Seconds after which a watch is opened anew."""
_MARGIN: Final = 10.0
_SHORTEST: Final = 1.0
"""Seconds; a watch that tells nothing and ends sooner was not wanted, and the next one is opened later."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 30.0


def path(kind: str, namespace: str, name: str | None = None) -> str:
    """Return the path of Jobs or pods, or of one of them."""
    api = "/apis/batch/v1" if kind == JOBS else "/api/v1"
    whole = f"{api}/namespaces/{namespace}/{kind}"
    return f"{whole}/{name}" if name else whole


async def catch_up(client: "Client", known: Known, handle: Handle) -> None:
    """Ask for a Job's pods, where the watch of pods is behind that of Jobs. Raises `Refused`."""
    namespace, _, uid = handle.split("/")
    for pod in (await client.get(path(PODS, namespace), labelSelector=f"{JOB_UID}={uid}"))["items"]:
        known.tell(PODS, pod)


class Reflector:
    """Tells `Known` what there is of a kind in a namespace."""

    def __init__(self, client: "Client", known: Known, kind: str, namespace: str, selector: str) -> None:
        self._client, self._known = client, known
        self._kind, self._namespace, self._selector = kind, namespace, selector
        self._path = path(kind, namespace)
        self._version: str | None = None
        self._pause = _FIRST_PAUSE

    async def run(self) -> None:
        """Go on for ever, whatever happens; after an error a little later each time."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except Refused as refused:
                self._refused(refused)
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known without the watch
                log.info(
                    "watch broke off", action="watch", kind=self._kind, namespace=self._namespace, error=repr(error)
                )
            else:
                continue
            await asyncio.sleep(self._pause * uniform(0.5, 1.0))  # noqa: S311 - spreads load
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def _refused(self, refused: Refused) -> None:
        if refused.expired:
            self._version = None
        else:
            log.warning("not watched", action="watch", kind=self._kind, namespace=self._namespace, error=str(refused))

    async def _list(self) -> None:
        found: list[Any] = []
        asked = clock()
        query = {"labelSelector": self._selector, "limit": str(PAGE)}
        while True:
            page = await self._client.get(self._path, within=_LIST, **query)
            found += map(short, page.get("items") or ())
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                break
        self._known.replace(self._kind, self._namespace, found, asked)
        self._version = page["metadata"]["resourceVersion"]

    async def _watch(self) -> None:
        """Take changes until the server has had enough."""
        lasts = _LASTS * uniform(0.8, 1.2)  # noqa: S311 - spreads load
        query = {
            "watch": "1",
            "labelSelector": self._selector,
            "resourceVersion": self._version or "",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(lasts)),
        }
        began, told = clock(), False
        async with self._client.stream(self._path, query, silence=lasts + _MARGIN) as response:
            async for line in response.content:
                self._take(from_json(line))
                told = True
        if not told and clock() - began < _SHORTEST:
            raise ConnectionError("the watch ended as soon as it was opened")

    def _take(self, event: dict[str, Any]) -> None:
        what, found = event["type"], event["object"]
        if what == "ERROR":
            raise Refused(int(found.get("code") or 0), str(found.get("message") or found), str(found.get("reason")))
        self._pause = _FIRST_PAUSE
        if what != "BOOKMARK":
            self._known.tell(self._kind, found, deleted=what == "DELETED")
        self._version = found["metadata"]["resourceVersion"]

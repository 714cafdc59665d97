"""Jobs' logs through the API: followed while their containers run, read to the end afterwards.

Each follower is a connection, so a worker has only so many at once: who finds none free waits until one is, or until
its container has ended, and then reads all of it. A connection may break, or end, whenever it likes: what was read last
tells where to go on (`lines.py`). A log is complete when an answer that was asked for after the container's end has
ended. A Job that tried several pods has the lines of all, one after another.

Pods have one stream: everything counts as stdout.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.executor import Handle, LogLine, Position
from runmesh.executors.kubernetes.known import PODS, Json, Known, is_over, main_of
from runmesh.executors.kubernetes.lines import Piece, Place, Splitter
from runmesh.executors.kubernetes.refusals import Refused
from runmesh.executors.kubernetes.watch import catch_up, path
from runmesh.platforms.lines import TAIL, tail

if TYPE_CHECKING:
    from runmesh.executors.kubernetes.client import Client

log = structlog.get_logger(__name__)

_SILENCE: Final = 300.0
"""Seconds without a line after which a follower asks again: its connection may have died."""
_READERS: Final = 16
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_TAIL_BYTES: Final = 64 * 1024


class Logs:
    """The logs of one worker's Jobs."""

    def __init__(self, client: "Client", known: Known, followers: int) -> None:
        self._client, self._known = client, known
        self._followers = asyncio.Semaphore(followers)
        self._readers = asyncio.Semaphore(_READERS)

    async def follow(self, handle: Handle, since: Position) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the Job has ended and all is read; nothing for an unknown Job."""
        size = number = 0
        async for piece in self._pieces(handle):
            size += piece.size
            number += 1
            if number > since.stdout[1]:
                yield LogLine("stdout", number, piece.text, Position(stdout=(size, number)))

    async def tail(self, pod: Json) -> tuple[str, ...]:
        """Return the last lines of a pod."""
        query = {"tailLines": str(TAIL), "container": main_of(pod["spec"]), "limitBytes": str(_TAIL_BYTES)}
        text = await self._client.text(_path(pod), **query)
        return tail(text.splitlines())

    async def _pieces(self, handle: Handle) -> AsyncIterator[Piece]:
        """Yield the pieces of all pods, the oldest pod first."""
        read: set[str] = set()
        caught_up = False
        await self._known.told(handle)
        while (entry := self._known.get(handle)) is not None:
            pods = [pod for pod in entry.pods if pod["metadata"]["uid"] not in read]
            if not pods:
                if not (entry.job is None or is_over(entry.job)):
                    await self._known.change(handle)
                elif entry.behind and not caught_up:
                    caught_up = True
                    await catch_up(self._client, self._known, handle)
                else:
                    return
                continue
            read.add(pods[0]["metadata"]["uid"])
            async for piece in self._of_pod(handle, pods[0]):
                yield piece

    async def _of_pod(self, handle: Handle, pod: Json) -> AsyncIterator[Piece]:
        place, pause = Place(), _FIRST_PAUSE
        while (state := await self._state(handle, pod)) is not None:
            ended = state == "terminated"
            room = self._readers if ended else self._followers
            if not await self._room(room, handle, pod, ended=ended):
                continue
            try:
                async for piece in self._answer(pod, place, follow=not ended):
                    pause = _FIRST_PAUSE
                    yield piece
                if ended:
                    return
            except Refused as refused:
                if refused.missing or (ended and not (refused.passing or refused.unauthenticated)):
                    return
                log.info("log not read", action="log", pod=pod["metadata"]["name"], error=str(refused))
            except (ConnectionError, TimeoutError) as error:
                log.info("log broke off", action="log", pod=pod["metadata"]["name"], error=repr(error))
            finally:
                room.release()
            await _first(asyncio.sleep(pause), self._end_of(handle, pod))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _answer(self, pod: Json, place: Place, *, follow: bool) -> AsyncIterator[Piece]:
        """Read one answer, as far as it goes."""
        query = {"container": main_of(pod["spec"]), "timestamps": "true", **({"follow": "true"} if follow else {})}
        if place.since:
            query["sinceTime"] = place.since
        place.reopen()
        split = Splitter()
        async with self._client.stream(_path(pod), query, silence=_SILENCE) as response:
            async for chunk in response.content.iter_any():
                for piece in filter(place.is_new, split.feed(chunk)):
                    yield piece
            if not follow:
                for piece in filter(place.is_new, split.rest()):
                    yield piece

    async def _room(self, room: asyncio.Semaphore, handle: Handle, pod: Json, *, ended: bool) -> bool:
        """Wait for room; False: the container has ended before there was any."""
        if ended or not room.locked():
            await room.acquire()
            return True
        taking = asyncio.ensure_future(room.acquire())
        try:
            return await _first(taking, self._end_of(handle, pod))
        except asyncio.CancelledError:
            if taking.done() and not taking.cancelled():
                room.release()
            raise

    async def _state(self, handle: Handle, pod: Json) -> str | None:
        """Wait until a pod's container has begun; return what it does; None: it never began, or is no more."""
        while (now := self._now(handle, pod)) is not None:
            state = _state(now)
            if state in ("running", "terminated"):
                return state
            if now["status"].get("phase") in ("Succeeded", "Failed"):
                return None
            await self._known.change(handle)
        return None

    async def _end_of(self, handle: Handle, pod: Json) -> None:
        """Wait until a pod's container has ended, or is no more."""
        while (now := self._now(handle, pod)) is not None and _state(now) != "terminated":
            await self._known.change(handle)

    def _now(self, handle: Handle, pod: Json) -> Json | None:
        entry = self._known.get(handle)
        uid = pod["metadata"]["uid"]
        return next((each for each in entry.pods if each["metadata"]["uid"] == uid), None) if entry else None


def _path(pod: Json) -> str:
    meta = pod["metadata"]
    return f"{path(PODS, meta['namespace'], meta['name'])}/log"


def _state(pod: Json) -> str | None:
    """Return ``waiting``, ``running`` or ``terminated``."""
    for status in pod["status"].get("containerStatuses") or ():
        if status["name"] == main_of(pod["spec"]):
            return next(iter(status.get("state") or ()), None)
    return None


async def _first(one: Awaitable[Any], other: Awaitable[Any]) -> bool:
    """Wait for whichever comes first, and give the other one up; return whether it was the one."""
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

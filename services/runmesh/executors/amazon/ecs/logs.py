"""Tasks' output, from CloudWatch: where the awslogs options of the task definition say it is.

A stream is read page by page, each from where the last one ended (by CloudWatch's own token), so nothing is lost or
comes twice. All reads of a worker take turns. A stream is complete when a read brings nothing more that began after
the task's end, and so long after its container's that CloudWatch shows all of it.

The driver has one stream: everything counts as stdout. An event is a line, or several where the container's options
say so.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.clock import clock
from runmesh.executor import Handle, LogLine, Position
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.ecs import naming
from runmesh.executors.amazon.ecs.definition import log_place
from runmesh.executors.amazon.ecs.definitions import Definitions
from runmesh.executors.amazon.ecs.interval import Interval
from runmesh.executors.amazon.ecs.known import Entry, Known
from runmesh.executors.amazon.ecs.looking import Looking
from runmesh.executors.amazon.refusals import Refused
from runmesh.platforms.lines import TAIL, pieces, tail
from runmesh.platforms.turns import AWAITED, FIRST_PAUSE, Turns, longer, urgency

if TYPE_CHECKING:
    from runmesh.executors.amazon.session import Amazon

log = structlog.get_logger(__name__)

_MISSING: Final = "ResourceNotFoundException"


@dataclass(slots=True)
class _Stream:
    """A stream, and how far it was read."""

    access: Access
    group: str
    name: str
    token: str | None = None
    at_end: bool = False
    pause: float = 0.0
    """Seconds until it is worth asking again."""

    def took(self, page: Mapping[str, Any]) -> None:
        """Note a page: at the end of a stream CloudWatch returns the token that it was given."""
        following = page.get("nextForwardToken")
        self.at_end = following in (None, self.token)
        self.token = following
        quiet = self.at_end and not page["events"]
        self.pause = longer(self.pause) if quiet else 0.0

    def failed(self) -> None:
        """Note that there was no page."""
        self.at_end, self.pause = False, longer(self.pause)


class Logs:
    """The logs of one worker's tasks."""

    def __init__(
        self, amazon: "Amazon", definitions: Definitions, known: Known, looking: Looking, interval: Interval
    ) -> None:
        self._amazon, self._definitions, self._known = amazon, definitions, known
        self._looking, self._interval = looking, interval
        self.turns = Turns()

    async def follow(self, handle: Handle, since: Position) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the task has ended and all is read; nothing for an unknown task."""
        if (found := await self._found(handle)) is None:
            return
        size = number = 0
        async for text in self._texts(handle, *found):
            size += len(text.encode(errors="replace")) + 1
            number += 1
            if number > since.stdout[1]:
                yield LogLine("stdout", number, text, Position(stdout=(size, number)))

    async def tail(self, handle: Handle, entry: Entry) -> tuple[str, ...]:
        """Return the last lines; nothing where there is no log. Raises `Refused`, ConnectionError."""
        if (stream := await self._stream(handle, entry)) is None:
            return ()
        await self.turns.turn(AWAITED)
        page = await self._page(stream, limit=TAIL, startFromHead=False)
        return tail(_lines(page["events"]))

    async def _found(self, handle: Handle) -> tuple[Entry, _Stream] | None:
        """Return a task and its stream, as soon as AWS says what they are; None if there is none. Raises `Refused`."""
        pause = 0.0
        while True:
            try:
                if self._known.get(handle) is None and await self._looking.one(handle) is None:
                    return None
                if entry := self._known.get(handle):
                    stream = await self._stream(handle, entry)
                    return (entry, stream) if stream else None
            except (Refused, ConnectionError) as error:
                if not _passes(error):
                    raise
            await asyncio.sleep(pause := longer(pause))

    async def _texts(self, handle: Handle, entry: Entry, stream: _Stream) -> AsyncIterator[str]:
        while True:
            ended = entry.ended.is_set()
            await self.turns.turn(urgency(stream.pause, ended=ended))
            complete = ended and clock() >= entry.all_shown_at
            page = await self._next(stream)
            for text in _lines(page["events"]):
                yield text
            if complete and stream.at_end and not page["events"]:
                return
            if stream.pause:
                await self._pause(handle, entry, stream.pause, ended=ended)

    async def _next(self, stream: _Stream) -> Mapping[str, Any]:
        """Return the next page; nothing where there is none now. Raises `Refused` if there never will be."""
        try:
            more = {"nextToken": stream.token} if stream.token else {}
            page = await self._page(stream, startFromHead=True, **more)
        except (Refused, ConnectionError) as error:
            if not _passes(error):
                raise
            log.info("log not read", action="log", stream=stream.name, error=str(error))
            stream.failed()
            return {"events": ()}
        stream.took(page)
        return page

    async def _pause(self, handle: Handle, entry: Entry, seconds: float, *, ended: bool) -> None:
        """Wait, at most until the task's end; see to it that somebody looks for that."""
        if ended:
            await asyncio.sleep(min(seconds, FIRST_PAUSE))
            return
        try:
            async with asyncio.timeout(min(seconds, self._interval.seconds)):
                await entry.ended.wait()
        except TimeoutError:
            if clock() > entry.stale_at:
                await self._looking.one(handle)

    async def _page(self, stream: _Stream, **more: Any) -> Mapping[str, Any]:
        """Read one page; of a stream that isn't there (yet), nothing."""
        asked = {"logGroupName": stream.group, "logStreamName": stream.name, **more}
        try:
            return await self._amazon.call("logs", stream.access, "get_log_events", **asked)
        except Refused as refused:
            if refused.code != _MISSING:
                raise
            return {"events": ()}

    async def _stream(self, handle: Handle, entry: Entry) -> _Stream | None:
        if entry.container is None:
            return None
        access = naming.access_of(handle)
        place = log_place(await self._definitions.described(access, entry.definition), entry.container)
        if place is None:
            return None
        there = replace(access, region=place.region or access.region)
        return _Stream(there, place.group, place.stream(entry.container, naming.id_of(naming.arn_of(handle))))


def _passes(error: Refused | ConnectionError) -> bool:
    """Whether it is worth asking again: credentials may be renewed, too."""
    return not isinstance(error, Refused) or error.passing or error.unauthenticated


def _lines(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of events, overlong ones in pieces."""
    return pieces(line for event in events for line in event["message"].split("\n"))

"""Groups' output: the end of each log, read again and again, since Azure has no other way.

All reads of a worker take turns. A log is complete when a read that began after the end brings nothing more.

Containers have one log: everything counts as stdout.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.clock import clock
from runmesh.executor import Handle, LogLine, Position
from runmesh.executors.azure import naming
from runmesh.executors.azure.known import Entry, Known
from runmesh.executors.azure.refusals import Refused
from runmesh.executors.azure.tail import Tail
from runmesh.platforms.lines import TAIL, pieces, tail
from runmesh.platforms.turns import AWAITED, FIRST_PAUSE, Turns, longer, urgency

if TYPE_CHECKING:
    from runmesh.executors.azure.arm import Arm

log = structlog.get_logger(__name__)

_UNASKED: Final = 5
"""Intervals of the observer after which nobody seems to look at a group, so that its follower must."""

Look = Callable[[Handle], Awaitable[Any]]


class Logs:
    """The logs of one worker's groups."""

    def __init__(self, arm: "Arm", known: Known, poll: float) -> None:
        self._arm, self._known, self._poll = arm, known, poll
        self.turns = Turns()

    async def follow(self, handle: Handle, since: Position, look: Look) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the container has ended and all is read."""
        size = number = 0
        async for texts in self._texts(handle, look):
            if number == 0 and len(texts) < since.stdout[1]:
                # Azure has dropped the beginning, so nobody can tell where the position is among these.
                size, number = since.stdout
                continue
            for text in texts:
                size += len(text.encode(errors="replace")) + 1
                number += 1
                if number > since.stdout[1]:
                    yield LogLine("stdout", number, text, Position(stdout=(size, number)))

    async def tail(self, handle: Handle) -> tuple[str, ...]:
        """Return the last lines. Raises `Refused`, ConnectionError."""
        await self.turns.turn(AWAITED)
        content = await self._read(handle, Tail(lines=TAIL))
        return tail(Tail().new(content) or ())

    async def _texts(self, handle: Handle, look: Look) -> AsyncIterator[list[str]]:
        """Yield what each read brings, the first one all that there is."""
        entry, place, pause = self._known.add(handle), Tail(), 0.0
        while True:
            ended = entry.ended.is_set()
            await self.turns.turn(urgency(pause, ended=ended))
            fresh = await self._fresh(handle, place)
            if fresh:
                yield pieces(fresh)
            if ended and fresh == []:
                return
            pause = 0.0 if fresh else longer(pause)
            if not ended:
                await self._pause(handle, entry, max(FIRST_PAUSE, pause), look)
            elif fresh is None:
                await asyncio.sleep(FIRST_PAUSE)

    async def _fresh(self, handle: Handle, place: Tail) -> list[str] | None:
        """Return the new lines; None: there was no answer, or a gap. Raises `Refused` if there never will be one."""
        try:
            return place.new(await self._read(handle, place))
        except (Refused, ConnectionError) as error:
            if isinstance(error, Refused) and not error.passing:
                raise
            log.info("log not read", action="log", group=handle, error=str(error))
            return None

    async def _read(self, handle: Handle, place: Tail) -> str:
        """Return what Azure has; nothing where there is no container (yet, or any more)."""
        few: dict[str, Any] = {"tail": place.lines} if place.lines else {}
        try:
            path = f"{handle}/containers/{naming.CONTAINER}/logs"
            answer = await self._arm.call("GET", path, timestamps="true", **few)
        except Refused as refused:
            if refused.missing or refused.no_container:
                return ""
            raise
        return str(answer.get("content") or "")

    async def _pause(self, handle: Handle, entry: Entry, seconds: float, look: Look) -> None:
        """Wait, at most until the container's end; see to it that somebody looks for that."""
        try:
            async with asyncio.timeout(min(seconds, _UNASKED * self._poll)):
                await entry.ended.wait()
        except TimeoutError:
            if clock() - entry.asked > _UNASKED * self._poll:
                try:
                    await look(handle)
                except (Refused, ConnectionError) as error:
                    log.info("group not observed", action="observe", group=handle, error=str(error))

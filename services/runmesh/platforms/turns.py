"""Turns for reading logs: so many a second for all tasks of a worker, and those first whose task has ended.

Before all others comes the end of a failed task's log, which its fact waits for. Who reads a log that is silent pauses,
longer each time, and comes last.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Final

AWAITED: Final = 0
ENDED: Final = 1
LIVELY: Final = 2
SILENT: Final = 3
FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_LONGEST_LIVELY: Final = 1.0


class Turns:
    """One queue for all who want to read; `give` must run meanwhile."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._more = asyncio.Event()

    async def turn(self, urgency: int) -> None:
        """Wait for a turn."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (urgency, next(self._order), mine))
        self._more.set()
        await mine

    @asynccontextmanager
    async def given(self, rate: float) -> AsyncIterator[None]:
        """Give turns for the length of the block."""
        giving = asyncio.create_task(self.give(rate))
        try:
            yield
        finally:
            giving.cancel()
            await asyncio.wait([giving])

    async def give(self, rate: float) -> None:
        """Give turns for ever, so many a second."""
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            _, _, first = heappop(self._waiting)
            if not first.done():  # whoever waited may have been cancelled
                first.set_result(None)
                await asyncio.sleep(1 / rate)


def urgency(pause: float, *, ended: bool) -> int:
    """Return the urgency of a log's next read, which a pause came before."""
    if ended:
        return ENDED
    return LIVELY if pause <= _LONGEST_LIVELY else SILENT


def longer(pause: float) -> float:
    """Return the seconds to pause after a read that brought nothing, as the one after that pause did."""
    return min(_LONGEST_PAUSE, max(FIRST_PAUSE, pause * 1.5))

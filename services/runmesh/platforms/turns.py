"""Turns for reading logs: so many a second for all tasks of a worker, and those first whose task has ended.

Before all others comes the end of a failed task's log, which its fact waits for.
"""

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Final

AWAITED: Final = 0
ENDED: Final = 1
LIVELY: Final = 2
SILENT: Final = 3


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

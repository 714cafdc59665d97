"""When to look at which run again: a heap in memory.

Nothing depends on it: every time is also in the run's stored state, and the sweep finds it if this process dies.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

_STALE: Final = 1024


class Timers:
    """The earliest time at which each run is due."""

    def __init__(self) -> None:
        self._due: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def wake(self, run: str, at: datetime) -> None:
        """Be told of a run at a time, or earlier if that was asked for before."""
        known = self._due.get(run)
        if known is not None and known <= at:
            return
        self._due[run] = at
        heapq.heappush(self._heap, (at, run))
        if self._heap[0] == (at, run):
            self._earlier.set()

    def forget(self, run: str) -> None:
        """Drop a run that has ended."""
        self._due.pop(run, None)
        if len(self._heap) > 2 * len(self._due) + _STALE:
            # Its time may be years away, and thousands end every second.
            self._heap = [(at, run) for run, at in self._due.items()]
            heapq.heapify(self._heap)

    async def due(self) -> AsyncIterator[str]:
        """Yield runs as they fall due, for ever."""
        while True:
            self._earlier.clear()
            now = datetime.now(UTC)
            while self._heap and self._heap[0][0] <= now:
                at, run = heapq.heappop(self._heap)
                if self._due.get(run) == at:
                    del self._due[run]
                    yield run
            await self._rest(now)

    async def _rest(self, now: datetime) -> None:
        wait = (self._heap[0][0] - now).total_seconds() if self._heap else None
        try:
            async with asyncio.timeout(wait):
                await self._earlier.wait()
        except TimeoutError:
            pass

"""When to look at which run again: a heap in memory.

Nothing depends on it: every time is also in the run's stored state, and the sweep finds it if this process dies.
Times are wall times, but how long it is until then is measured by `clock`: whoever sets the wall clock back must not
make us wait any longer.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from runmesh.clock import clock

_STALE: Final = 1024


class _Timer(NamedTuple):
    by: float
    """When it rings, by `clock`."""
    at: datetime
    run: str


class Timers:
    """The earliest time at which each run is due."""

    def __init__(self) -> None:
        self._due: dict[str, _Timer] = {}
        self._heap: list[_Timer] = []
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def wake(self, run: str, at: datetime) -> None:
        """Be told of a run at a time, or earlier if that was asked for before."""
        known = self._due.get(run)
        if known is not None and known.at <= at:
            return
        timer = self._due[run] = _Timer((at - datetime.now(UTC)).total_seconds() + clock(), at, run)
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._earlier.set()

    def forget(self, run: str) -> None:
        """Drop a run that has ended."""
        self._due.pop(run, None)
        if len(self._heap) > 2 * len(self._due) + _STALE:
            # Its time may be years away, and thousands end every second.
            self._heap = list(self._due.values())
            heapq.heapify(self._heap)

    async def due(self) -> AsyncIterator[str]:
        """Yield runs as they fall due, for ever."""
        while True:
            self._earlier.clear()
            while self._heap and self._heap[0].by <= clock():
                timer = heapq.heappop(self._heap)
                if self._due.get(timer.run) is timer:
                    del self._due[timer.run]
                    yield timer.run
            await self._rest()

    async def _rest(self) -> None:
        wait = self._heap[0].by - clock() if self._heap else None
        try:
            async with asyncio.timeout(wait):
                await self._earlier.wait()
        except TimeoutError:
            pass

"""A token bucket: so many calls a second, and some more at once after a while without any."""

import asyncio

from runmesh.clock import clock


class Pace:
    """The pace of one kind of call."""

    def __init__(self, rate: float, burst: float) -> None:
        self._step = 1 / rate
        self._slack = burst / rate
        self._next = clock() - self._slack

    async def turn(self) -> None:
        """Wait for a turn."""
        now = clock()
        self._next = max(self._next, now - self._slack) + self._step
        if self._next > now:
            await asyncio.sleep(self._next - now)

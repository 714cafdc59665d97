"""How late the event loop is: whatever holds it up delays every beat, every answer and every probe."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from runmesh.metrics import LOOP_LAG

_PERIOD: Final = 0.5
_KEPT: Final = 20
"""Measurements, so those of the last ten seconds."""


class Lag:
    """The worst of the last ten seconds."""

    def __init__(self) -> None:
        self._late = deque([0.0], maxlen=_KEPT)

    @property
    def worst(self) -> float:
        """Seconds that something scheduled had to wait."""
        return max(self._late)

    def note(self, late: float) -> None:
        """Note by how many seconds one measurement was late."""
        self._late.append(late)
        LOOP_LAG.set(self.worst)


@asynccontextmanager
async def measured() -> AsyncIterator[Lag]:
    """Measure the event loop's lag for the length of the block."""
    lag = Lag()
    measuring = asyncio.create_task(_measure(lag))
    try:
        yield lag
    finally:
        measuring.cancel()
        await asyncio.wait({measuring})


async def _measure(lag: Lag) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _PERIOD
        await asyncio.sleep(_PERIOD)
        lag.note(loop.time() - due)

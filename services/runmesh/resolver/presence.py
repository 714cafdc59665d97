"""Which executor types and pools have a worker, as far as the `workers` bucket says."""

import asyncio
from collections.abc import Set as AbstractSet
from math import inf
from time import monotonic
from typing import Final

import structlog

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.errors import BusError, NotPermitted, NotProvisioned
from runmesh.resolver.happened import Present

_LOOK: Final = 2.0
_LOOK_FOR_MISSING: Final = 0.1
"""A worker that has just started should be known before anybody says that nobody is there."""
_DOTS: Final = 2
"""In the key of a worker: anybody could write another."""
log = structlog.get_logger()


class Presence:
    """Kept up to date by a look every few seconds; a run that misses nobody is never delayed by it."""

    def __init__(self, bus: Bus) -> None:
        self._workers = bus.bucket(subjects.WORKERS)
        self.event = Present(frozenset())
        self._looked = -inf

    async def of(self, pools: AbstractSet[tuple[str, str]]) -> Present:
        """Say who is there, after another look if one of these pools is missing; with the errors of `look`."""
        if pools - self.event.pools and monotonic() - self._looked > _LOOK_FOR_MISSING:
            await self.look()
        return self.event

    async def look(self) -> None:
        """Read who is there; if that fails, nothing has changed. Raises `NotPermitted` and `NotProvisioned`."""
        self._looked = monotonic()
        try:
            keys = await self._workers.keys()
        except (NotPermitted, NotProvisioned):
            raise
        except BusError as error:
            log.warning("workers not listed", action="list", error=str(error))
            return
        pools = frozenset(subjects.worker_address(key)[:2] for key in keys if key.count(".") == _DOTS)
        if pools != self.event.pools:
            self.event = Present(pools)

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK if self.event.pools else _LOOK_FOR_MISSING)

"""Which executor types and pools have a worker, as far as the `workers` bucket says."""

import asyncio
from typing import Final

import structlog

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.errors import BusError, NotPermitted, NotProvisioned
from runmesh.resolver.happened import Present

_LOOK: Final = 2.0
_LOOK_FOR_FIRST: Final = 0.1
"""A mesh that is just starting should not say that nobody is there when somebody is."""
_DOTS: Final = 2
"""In the key of a worker: anybody could write another."""
log = structlog.get_logger()


class Presence:
    """Kept up to date by a look every few seconds; a run that waits for nobody is never delayed by it."""

    def __init__(self, bus: Bus) -> None:
        self._workers = bus.bucket(subjects.WORKERS)
        self.event = Present(frozenset())

    async def look(self) -> None:
        """Read who is there; if that fails, nothing has changed. Raises `NotPermitted` and `NotProvisioned`."""
        try:
            keys = await self._workers.keys()
        except (NotPermitted, NotProvisioned):
            raise
        except BusError as error:
            log.warning("workers not listed", error=str(error))
            return
        pools = frozenset(subjects.worker_address(key)[:2] for key in keys if key.count(".") == _DOTS)
        if pools != self.event.pools:
            self.event = Present(pools)

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK if self.event.pools else _LOOK_FOR_FIRST)

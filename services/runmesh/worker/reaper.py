"""The reaper: removes what is left on the platform without anybody who answers for it.

The platform's jobs are listed first and the claims are read afterwards. A job is submitted after its claim
was written, so a job whose claim is not open then has no owner any more.
"""

import asyncio
from random import uniform

import structlog

from runmesh.claims import ClaimPhase
from runmesh.executor import Handle
from runmesh.worker.lease import LeaseLost
from runmesh.worker.station import Station

log = structlog.get_logger(__name__)


class Reaper:
    """Comes by once every `ack_wait`."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._interval = station.settings.ack_wait

    async def run(self) -> None:
        """Reap for ever."""
        while True:
            await asyncio.sleep(self._interval * uniform(0.8, 1.2))  # noqa: S311 - spreads load
            try:
                await self._reap()
            except (LeaseLost, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - foreign code; the next round comes
                log.warning("not reaped", error=repr(error))

    async def _reap(self) -> None:
        async with asyncio.timeout(self._interval):
            jobs = [found async for found in self._station.platform.jobs()]
        for key, handle in jobs:
            if self._station.jobs.get(key) is None and not await self._open(key):
                await self._remove(key, handle)

    async def _open(self, key: str) -> bool:
        hold = await self._station.claims.read(key)
        return hold is not None and hold.claim.phase is not ClaimPhase.TERMINAL

    async def _remove(self, key: str, handle: Handle) -> None:
        log.info("removing a job without an open claim", key=key, handle=handle)
        await self._station.platform.cancel(handle)
        await self._station.platform.remove(handle)

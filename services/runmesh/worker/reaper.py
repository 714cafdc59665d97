"""The reaper: removes what is left on the platform without anybody who answers for it.

The platform's jobs are listed first and the claims are read afterwards. A job is submitted after its claim
was written, so a job whose claim is not open then has no owner any more. Whoever has just ended its task may
still read its log, and then removes it: so it is left alone until the next round. Where the claim's fact says
that an end could not be confirmed, and the platform knows it by now, it is told before the job is removed.
"""

import asyncio
from random import uniform

import structlog

from runmesh.claims import Claim, ClaimPhase
from runmesh.executor import ENDED, UNKNOWN, Handle
from runmesh.worker.lease import LeaseLost
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station

log = structlog.get_logger(__name__)


class Reaper:
    """Comes by once every `ack_wait`."""

    def __init__(self, station: Station, reporter: Reporter) -> None:
        self._station = station
        self._reporter = reporter
        self._interval = station.settings.ack_wait
        self._unowned: set[Handle] = set()
        """What nobody answered for in the last round."""

    async def run(self) -> None:
        """Reap for ever; the first round at once, since it also tells whether the platform is reached."""
        while True:
            try:
                found = await self._listed()
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - foreign code; the next round comes
                log.warning("jobs not listed", action="list", error=repr(error))
            else:
                self._unowned = {handle for key, handle in found if await self._judge(key, handle)}
            await asyncio.sleep(self._interval * uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def _listed(self) -> list[tuple[str, Handle]]:
        async with asyncio.timeout(self._interval):
            return [(key, handle) async for key, handle in self._station.platform.jobs()]

    async def _judge(self, key: str, handle: Handle) -> bool:
        """Return whether nobody answers for a job, and remove it the second time. One that fails stops no other."""
        if self._station.jobs.get(key) is not None:
            return False
        try:
            hold = await self._station.claims.read(key)
            if hold is not None and hold.claim.phase is not ClaimPhase.TERMINAL:
                return False
            if handle in self._unowned:
                await self._remove(key, handle, hold.claim if hold else None)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; the next round comes
            log.warning("job not reaped", action="reap", key=key, handle=handle, error=repr(error))
            return False
        return True

    async def _remove(self, key: str, handle: Handle, claim: Claim | None) -> None:
        log.info("removing a job without an open claim", action="reap", key=key, handle=handle)
        if claim and claim.fact and claim.fact.unconfirmed:
            await self._tell_its_end(claim, handle)
        await self._station.platform.cancel(handle)
        await self._station.platform.remove(handle)

    async def _tell_its_end(self, claim: Claim, handle: Handle) -> None:
        seen = (await self._station.platform.observe([handle])).get(handle, UNKNOWN)
        if seen.phase in ENDED:
            await self._reporter.late(claim, handle, seen)

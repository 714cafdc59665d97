"""Which tasks must stop: the resolver's `cancelling.<run>` records, and runs that are no more.

They are read once for each task after its claim (so a cancel is seen whichever comes first), watched
because that is fast, and scanned with every beat because that is sure.
"""

import asyncio

import structlog

from runmesh import subjects
from runmesh.bus import Entry
from runmesh.claims import Stop, Stopping
from runmesh.clock import clock
from runmesh.errors import BusError
from runmesh.events import Cause
from runmesh.worker.jobs import Job, utc
from runmesh.worker.station import Station

log = structlog.get_logger(__name__)


class Cancels:
    """Tells the jobs of this worker when they must stop."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._runs = station.bus.bucket(subjects.RUNS)
        self._interval = station.settings.ack_wait / 4
        self._known: dict[str, float] = {}

    async def check(self, job: Job) -> None:
        """Read whether a task that was just claimed must stop."""
        run = job.event.run
        if self._known.get(run, 0.0) > clock():
            await self._look(run)
        else:
            await asyncio.gather(self._look(run), self._look_for_run(job))

    async def scan(self) -> None:
        """Compare the records with what is held, for ever."""
        while True:
            await asyncio.sleep(self._interval)
            self._known = {run: until for run, until in self._known.items() if until > clock()}
            try:
                await self._compare()
            except BusError as error:
                log.warning("cancels not scanned", action="cancel", error=str(error))

    async def listen(self) -> None:
        """Take records as they are written, for ever."""
        while True:
            try:
                async for change in self._runs.watch(subjects.cancelling("*")):
                    if isinstance(change, Entry):
                        self._apply(change)
            except BusError as error:
                log.warning("cancels not watched", action="cancel", error=str(error))
            await asyncio.sleep(self._interval)

    async def _compare(self) -> None:
        held = {job.event.run for job in self._station.jobs if job.stop is None}
        if not held:
            return
        for key in await self._runs.keys(subjects.cancelling("*")):
            if _run_of(key) in held and (record := await self._runs.get(key)):
                self._apply(record)

    async def _look(self, run: str) -> None:
        if record := await self._station.lease.insist(lambda: self._runs.get(subjects.cancelling(run))):
            self._apply(record)

    async def _look_for_run(self, job: Job) -> None:
        # A state is kept for weeks after its run has ended, and may be large: one look a beat is enough.
        run, until = job.event.run, clock() + self._interval
        if await self._station.lease.insist(lambda: self._runs.get(subjects.run_state(run))):
            self._known[run] = until
        else:
            job.ask_stop(Stopping(cause=Cause.CANCELLED, reason=f"there is no run {run}", at=utc()))

    def _apply(self, record: Entry) -> None:
        try:
            wanted = Stop.decode(record.value)
        except ValueError as error:
            log.warning("unreadable cancel record", action="cancel", key=record.key, error=str(error))
            return
        for job in self._station.jobs:
            if job.event.callback and wanted.keys == "all":
                continue  # it tells of the run's end
            if job.event.run == _run_of(record.key) and wanted.names(job.event.key):
                job.ask_stop(Stopping(cause=Cause.CANCELLED, reason=wanted.reason, at=utc()))


def _run_of(key: str) -> str:
    return key.rsplit(".", 1)[1]

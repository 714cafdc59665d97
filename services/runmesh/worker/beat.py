"""The beat: the record in `workers` that keeps this worker's lease, and `in_progress` for what it holds.

The record vanishes by itself `ack_wait` after the last beat, and then others may take over. Only a beat
whose PubAck came back renews the lease, counted from when the beat was sent.

Where our own record vanished too, the server has lost them all (its clock was set forward, the bucket was made anew):
then nobody counts as dead until everybody has had the time to beat again.
"""

import asyncio
import socket
from random import uniform
from typing import Any, Final

import structlog

import runmesh
from runmesh import claims, metrics, subjects
from runmesh.clock import clock
from runmesh.errors import BusError, Conflict, NotPermitted, NotProvisioned
from runmesh.executor import NeedsBeats, SeesChanges, StreamsLogs
from runmesh.worker.jobs import utc
from runmesh.worker.lease import LeaseLost
from runmesh.worker.station import Station
from runmesh.worker.throttle import Throttle

log = structlog.get_logger(__name__)

_POWERS: Final[dict[str, type[Any]]] = {"logs": StreamsLogs, "changes": SeesChanges, "beats": NeedsBeats}
_YIELD_EVERY: Final = 500


class Beat:
    """Says that this worker is alive, and what it holds."""

    def __init__(self, station: Station, throttle: Throttle, slots: int) -> None:
        self._station = station
        self._throttle = throttle
        self._slots = slots
        self._bucket = station.bus.bucket(subjects.WORKERS)
        self._key = subjects.worker(station.executor_type, station.pool, station.worker_id)
        self._interval = station.settings.ack_wait / 4
        self._since = utc()
        self._revision = 0
        metrics.begin_worker(station.executor_type, station.pool, lambda: len(station.jobs))
        self._believable_from = 0.0
        """When a missing record means again that its worker is gone (by `clock`)."""

    async def first(self) -> None:
        """Beat once, before anything is pulled. Raises `LeaseLost` if that is not possible."""
        self._station.lease.restart()
        while True:
            pause = await self._try()
            if pause == self._interval:
                return
            await asyncio.sleep(pause)

    async def run(self) -> None:
        """Beat for ever; a beat that failed is tried again soon."""
        pause = self._interval
        while True:
            await asyncio.sleep(pause * uniform(0.9, 1.0))  # noqa: S311 - spreads load
            pause = await self._try()

    async def _try(self) -> float:
        """Beat; return how long to wait before the next try."""
        self._station.lease.check()
        try:
            await self.once()
        except (NotPermitted, NotProvisioned):
            raise
        except (BusError, TimeoutError) as error:
            log.warning("beat not confirmed", action="beat", error=repr(error), left=self._station.lease.remaining())
            return self._interval / 8
        return self._interval

    async def once(self) -> None:
        """Beat. Raises `BusError` or `TimeoutError` if it is not confirmed, `LeaseLost` if that came too late."""
        sent = clock()
        async with asyncio.timeout(self._interval):
            await self._write()
        self._station.lease.renew(sent)
        await self._feed()
        await self._keep_messages()
        if self._throttle.shares_rate:
            self._throttle.replicas = max(1, len(await self.colleagues()))

    async def _write(self) -> None:
        try:
            self._revision = await self._bucket.update(self._key, self._record(), self._revision)
        except Conflict:
            self._believable_from = clock() + 2 * self._interval
            self._revision = await self._bucket.put(self._key, self._record())

    async def leave(self) -> None:
        """Take the record away: whoever holds a claim of ours may take it at once."""
        try:
            await self._bucket.delete(self._key)
        except BusError as error:
            log.warning("worker record stays until it expires", action="beat", error=str(error))

    async def is_alive(self, worker_id: str) -> bool:
        """Whether another worker may still act: it has a record, or records vanish of workers that are there."""
        return await self._is_there(worker_id) or not (
            clock() >= self._believable_from and await self._is_there(self._station.worker_id)
        )

    async def _is_there(self, worker_id: str) -> bool:
        key = subjects.worker(self._station.executor_type, self._station.pool, worker_id)
        return await self._station.lease.insist(lambda: self._bucket.get(key)) is not None

    async def colleagues(self) -> list[str]:
        """List the workers of this pool."""
        return await self._bucket.keys(subjects.workers_of(self._station.executor_type, self._station.pool))

    def _record(self) -> bytes:
        executor = self._station.platform.executor
        return claims.Beat(
            since=self._since,
            slots=self._slots,
            held=len(self._station.jobs),
            host=socket.gethostname(),
            version=runmesh.__version__,
            capabilities=tuple(name for name, power in _POWERS.items() if isinstance(executor, power)),
            state="working" if self._station.leave_by is None else "draining",
        ).encode()

    async def _feed(self) -> None:
        executor = self._station.platform.executor
        if not isinstance(executor, NeedsBeats):
            return
        try:
            async with asyncio.timeout(self._interval / 2):
                await executor.beat(self._station.lease.remaining())
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; its jobs stop by themselves if this goes on
            log.warning("executor not told that its worker lives", action="beat", error=repr(error))

    async def _keep_messages(self) -> None:
        for number, job in enumerate(self._station.jobs, 1):
            if job.hold is not None and self._station.jobs.get(job.event.key) is job:
                await job.message.in_progress()
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

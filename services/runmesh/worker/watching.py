"""From a handle to a verdict: one coroutine for each job, asleep until there is news of it.

The order in `_judge` is the rule: an end that was seen is the result, unless a stop was written before it;
a job is lost only after the platform said GONE over its window, `find` said no, and no outcome was left.
News wakes once, however much it is: nobody may sleep on before all of it was judged, or a stop that came together
with something else would never be heeded.
"""

from typing import Final

import structlog

from runmesh.claims import Stopping
from runmesh.clock import clock
from runmesh.errors import Invalid
from runmesh.events import OUTCOME, Cause, TaskState
from runmesh.executor import ENDED, UNKNOWN, Phase
from runmesh.worker import outcome
from runmesh.worker.jobs import HandOver, Job, begun, utc
from runmesh.worker.lease import LeaseLost
from runmesh.worker.observer import Observer
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station
from runmesh.worker.verdict import Verdict

log = structlog.get_logger(__name__)

LONGEST_PAUSE: Final = 60.0
_SHORTEST_PAUSE: Final = 0.5


class Watcher:
    """Sees jobs through to their ends, and stops those that must."""

    def __init__(self, station: Station, reporter: Reporter, observer: Observer) -> None:
        self._station = station
        self._platform = station.platform
        self._reporter = reporter
        self._observer = observer

    async def end_of(self, job: Job) -> Verdict:
        """Wait until the job has ended, or is stopped. Raises `HandOver`."""
        job.submitted = begun(job.claim.submitted_at)
        job.started = begun(job.claim.started_at) if job.claim.started_at else None
        self._observer.add(job)
        while (verdict := await self._judge(job)) is None:
            await job.news(self._patience(job))
        return verdict

    async def _judge(self, job: Job) -> Verdict | None:
        if job.claim.stopping is not None:
            return await self._stop(job, job.claim.stopping)
        if job.seen.phase in ENDED:
            return Verdict.observed(job.seen)
        if job.gone:
            return await self._missing(job) or await self._judge(job)
        if job.seen.phase is Phase.RUNNING and job.started is None:
            job.started = clock()
            await self._reporter.progress(job, job.claim.running(utc()), TaskState.RUNNING)
            return await self._judge(job)
        if stopping := job.stop or self._overdue(job) or self._drained(job):
            return await self._stop(job, stopping)
        return None

    async def _stop(self, job: Job, stopping: Stopping) -> Verdict:
        """Write why, tell the job to stop, and wait until it is gone."""
        if job.claim.stopping is None:
            await self._station.claims.write(job.held, job.claim.stop(stopping))
        limit = self._station.settings.cancel_timeout
        until = begun(stopping.at) + limit
        pause = max(_SHORTEST_PAUSE, 2 * self._platform.executor.poll_interval)
        while True:
            if not job.over:
                await self._cancel(job)
            await self._over_within(job, min(pause, until - clock()))
            if job.over:
                return Verdict.stopped(stopping, job.seen)
            if clock() >= until:
                return Verdict.unstoppable(stopping, limit)
            self._hand_over(job)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _over_within(self, job: Job, seconds: float) -> None:
        until = clock() + seconds
        while not job.over and (left := until - clock()) > 0:
            await job.news(left)
            self._hand_over(job)

    async def _cancel(self, job: Job) -> None:
        try:
            await self._platform.cancel(job.handle)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; it is told again
            log.warning(
                "job not told to stop", action="cancel", key=job.event.key, handle=job.handle, error=repr(error)
            )

    def _hand_over(self, job: Job) -> None:
        if job.leaving and not job.over and self._platform.adoptable:
            raise HandOver

    async def _missing(self, job: Job) -> Verdict | None:
        """Decide about a job that the platform no longer knows; None: not yet."""
        try:
            handle = None if isinstance(job.task, Invalid) else await self._platform.find(job.task)
            if handle is None:
                left = await outcome.read_if_possible(job.event.environment.get(OUTCOME), tries=outcome.TRIES)
                return Verdict.left_behind(left)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; the next GONE asks again
            log.warning("find gave no answer", action="observe", key=job.event.key, error=repr(error))
            job.gone = False
            return None
        job.forget_gone()
        if handle != job.handle:
            self._observer.forget(job)
            await self._station.claims.write(job.held, job.claim.moved(handle))
            self._observer.add(job)
        return None

    def _overdue(self, job: Job) -> Stopping | None:
        event = job.event
        if job.started is None:
            if clock() >= job.submitted + event.start_timeout:
                seen = job.seen if job.seen.phase is Phase.PENDING else UNKNOWN
                reason = f"not started within {event.start_timeout:g} s{f': {seen.reason}' if seen.reason else ''}"
                return Stopping(cause=seen.cause or Cause.CAPACITY, reason=reason, at=utc())
        elif event.timeout is not None and clock() >= job.started + event.timeout:
            return Stopping(cause=Cause.TIMEOUT, reason=f"ran longer than {event.timeout:g} s", at=utc())
        return None

    def _drained(self, job: Job) -> Stopping | None:
        if not job.leaving:
            return None
        self._hand_over(job)
        reason = "its worker was stopped, and the job can't outlive it"
        return Stopping(cause=Cause.INFRASTRUCTURE, reason=reason, handed_back=True, at=utc())

    def _patience(self, job: Job) -> float | None:
        """Return the seconds after which the job must be judged again without any news."""
        ends = [] if job.leave_by is None else [job.leave_by]
        if job.started is None:
            ends.append(job.submitted + job.event.start_timeout)
        elif job.event.timeout is not None:
            ends.append(job.started + job.event.timeout)
        return max(0.0, min(ends) - clock()) if ends else None

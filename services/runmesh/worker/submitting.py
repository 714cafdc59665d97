"""From a claim to a job: `submit` once, and `find` whenever it isn't certain whether it happened.

Only `Rejected` and `Unavailable` say that nothing was started. Any other error of `submit`, and any claim
that is found in `submitting`, means that there may be a job. Then `find` decides, and its no counts only
once `find_window` has passed since we began to look: every submit that could still be under way has ended
by then, whatever the clocks of two machines say.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from runmesh import metrics
from runmesh.clock import clock
from runmesh.dead import bury
from runmesh.errors import Invalid, Rejected, Unavailable
from runmesh.events import Cause, TaskState
from runmesh.executor import Handle, Task
from runmesh.tracing import TRACING
from runmesh.worker.cancels import Cancels
from runmesh.worker.jobs import HandOver, Job, begun, utc
from runmesh.worker.lease import LeaseLost
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station
from runmesh.worker.throttle import Throttle
from runmesh.worker.verdict import Verdict

log = structlog.get_logger(__name__)

MOST_TAKE_OVERS: Final = 5
MOST_AMBIGUOUS: Final = 5
_SHORTEST_WAIT: Final = 0.02


class Submitter:
    """Brings a claimed task to where its claim has a handle, or says how it ended without one."""

    def __init__(
        self,
        station: Station,
        reporter: Reporter,
        cancels: Cancels,
        throttle: Throttle,
        stop_pulling: Callable[[float], None],
    ) -> None:
        self._station = station
        self._platform = station.platform
        self._reporter = reporter
        self._cancels = cancels
        self._throttle = throttle
        self._stop_pulling = stop_pulling

    async def reach_handle(self, job: Job) -> Verdict | None:
        """Return None once the claim has a handle. Raises `HandOver`."""
        if isinstance(job.task, Invalid):
            return _misconfigured(job, job.task)
        if job.claim.may_have_job:
            verdict = await self._recover(job, job.task)
            if verdict or job.claim.handle:
                return verdict
        if job.claim.epoch >= MOST_TAKE_OVERS and job.stop is None:
            return await self._poisoned(job)
        return await self._submit(job, job.task)

    async def _submit(self, job: Job, task: Task[Any]) -> Verdict | None:
        ambiguous: list[Exception] = []
        overdue = begun(job.claim.claimed_at) + job.event.start_timeout
        while job.claim.handle is None:
            if verdict := await self._turn(job, overdue) or _hopeless(ambiguous) or await self._begin(job):
                return verdict
            match await self._attempt(job, task):
                case str() as handle:
                    self._throttle.accepted()
                    await self._record(job, Handle(handle))
                case Rejected() as error:
                    return Verdict.failed(Cause.CONFIG, str(error))
                case Unavailable() as error:
                    await self._refused(job, error)
                case error:
                    ambiguous.append(error)
                    log.warning("submit gave no clear answer", action="submit", key=task.key, error=repr(error))
                    if verdict := await self._recover(job, task):
                        return verdict
        return None

    async def _begin(self, job: Job) -> Verdict | None:
        """Note that there may be a job from now on, and look meanwhile whether there must be none."""
        claim = job.claim.submitting(utc())
        written = self._station.claims.post(job.held, claim)
        await self._cancels.check(job)
        await self._station.claims.settle(job.held, claim, written)
        return Verdict.stopped(job.stop) if job.stop else None

    async def _attempt(self, job: Job, task: Task[Any]) -> Handle | Exception:
        answer: Handle | Exception
        begun_at = utc()
        try:
            answer = await self._platform.submit(task)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; what it means is decided by the caller
            answer = error
        failed = type(answer).__name__ if isinstance(answer, Exception) else None
        TRACING.task_submitted(job.event, job.message.headers, begun_at, failed)
        return answer

    async def _turn(self, job: Job, overdue: float) -> Verdict | None:
        """Wait until a submit may be tried, or return why it never will be. Raises `HandOver`."""
        while True:
            if job.stop is not None:
                return Verdict.stopped(job.stop)
            if self._station.leave_by is not None:
                raise HandOver
            if clock() >= overdue:
                return Verdict.failed(Cause.CAPACITY, f"the platform took no job within {job.event.start_timeout:g} s")
            if (wait := self._throttle.turn()) <= 0:
                return None
            await job.news(min(wait, max(_SHORTEST_WAIT, overdue - clock())))

    async def _refused(self, job: Job, error: Unavailable) -> None:
        """Note that there is no job after all, and stop pulling until the platform takes jobs again."""
        delay = self._throttle.refused(error.retry_after)
        self._stop_pulling(delay)
        metrics.REFUSED.labels(job.event.executor_type, job.event.pool).inc()
        log.info("platform refuses for now", action="submit", key=job.event.key, error=str(error), delay=delay)
        await self._station.claims.write(job.held, job.claim.refused())

    async def _recover(self, job: Job, task: Task[Any]) -> Verdict | None:
        """Ask `find` until its answer can be believed: the claim has a handle then, or there is no job."""
        window = self._platform.executor.find_window
        poll = self._platform.executor.poll_interval
        asked = clock()
        patience = asked + 2 * window + 4 * poll
        while True:
            believable = clock() - asked >= window
            answer = await self._find(task)
            if isinstance(answer, str):
                await self._record(job, answer)
                return None
            if answer is None and believable:
                return None
            if answer is not None and clock() > patience:
                return Verdict(
                    TaskState.FAILED,
                    Cause.UNVERIFIED,
                    f"it may be running, and the platform doesn't say: {answer!r}",
                    unconfirmed=True,
                )
            if job.leaving and self._platform.adoptable:
                raise HandOver
            await asyncio.sleep(max(_SHORTEST_WAIT, min(poll, asked + window - clock())))

    async def _find(self, task: Task[Any]) -> Handle | Exception | None:
        try:
            return await self._platform.find(task)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code: any error is no answer
            log.warning("find gave no answer", action="submit", key=task.key, error=repr(error))
            return error

    async def _record(self, job: Job, handle: Handle) -> None:
        job.submitted = clock()
        await self._reporter.progress(job, job.claim.submitted(handle, utc()), TaskState.SUBMITTED)
        waited = (utc() - job.message.at).total_seconds()
        metrics.to_submitted(job.event.executor_type, job.event.pool).observe(max(0.0, waited))

    async def _poisoned(self, job: Job) -> Verdict:
        reason = f"{job.claim.epoch} workers died or gave up on this task before it had a job"
        await bury(self._station.bus, job.message, service=self._station.service, reason="poison", error=reason)
        return Verdict.failed(Cause.CONFIG, reason)


def _hopeless(ambiguous: list[Exception]) -> Verdict | None:
    if len(ambiguous) < MOST_AMBIGUOUS:
        return None
    return Verdict.failed(Cause.INFRASTRUCTURE, f"could not be submitted: {ambiguous[-1]!r}")


def _misconfigured(job: Job, problems: Invalid) -> Verdict:
    if not job.claim.may_have_job:
        return Verdict.failed(Cause.CONFIG, str(problems))
    reason = f"it may be running, and its configuration can't be read here: {problems}"
    return Verdict(TaskState.FAILED, Cause.UNVERIFIED, reason, unconfirmed=True)

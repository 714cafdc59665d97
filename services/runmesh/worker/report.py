"""Telling what happened: the claim first, the fact after it, the acknowledgement last."""

import asyncio
from typing import Any, Final

import structlog

from runmesh import cloudevents, filters, metrics, subjects
from runmesh.bus import Message, Stored
from runmesh.claims import Claim
from runmesh.clock import clock
from runmesh.errors import BusError, StreamFull, Unreachable
from runmesh.events import OUTCOME, TaskFact, TaskState
from runmesh.executor import Handle, Observation
from runmesh.retelling import is_told
from runmesh.tracing import TRACING
from runmesh.worker import outcome
from runmesh.worker.jobs import Job, utc
from runmesh.worker.lease import LeaseLost
from runmesh.worker.logs import Logs
from runmesh.worker.station import Station
from runmesh.worker.verdict import Verdict

log = structlog.get_logger(__name__)

_NEEDED: Final = frozenset({"callbacks", "children", "condition", "error"})
"""What the mesh itself reads of an outcome."""
_ENVELOPE: Final = 8192
"""Room for a claim's own fields beside the fact in it, and for a message's headers."""


class Reporter:
    """Publishes the facts of this worker's tasks."""

    def __init__(self, station: Station, logs: Logs) -> None:
        self._station = station
        self._logs = logs

    async def progress(self, job: Job, claim: Claim, state: TaskState) -> None:
        """Swap the claim and tell the fact that follows from it, in this order on the wire, without waiting between."""
        fact = self._fact(job, claim, state, url=job.seen.url)
        written = self._station.claims.post(job.held, claim)
        told = self._post(fact, job.message)
        await self._station.claims.settle(job.held, claim, written)
        await self._told(fact, job.message, told)

    async def finish(self, job: Job, verdict: Verdict) -> None:
        """End a task: claim, fact, removal, acknowledgement, each after the one before is certain."""
        fact = fit(await self._terminal(job, verdict), self._station.bus.payload_limit - _ENVELOPE)
        await self._station.claims.write(job.held, job.claim.finished(fact))
        _log_end(job, fact)
        await self._logs.end(job)
        await self.tell(fact, job.message)
        _timed(job, fact)
        await self._logs.rest(job)
        await self._clean_up(job, fact, job.claim)

    async def finish_again(self, job: Job, claim: Claim) -> None:
        """Do what follows from a terminal claim; how much of it was done already doesn't matter."""
        if claim.fact is not None:
            await self.tell(claim.fact, job.message)
        await self._clean_up(job, claim.fact, claim)

    async def late(self, claim: Claim, handle: Handle, seen: Observation) -> None:
        """Tell how a job ended after its task's terminal fact. It is `late`, so it changes nothing (DESIGN §2)."""
        if claim.fact is None:
            return
        _, facts_of_tasks = filters.facts_of_run(claim.fact.run)
        # The command is no more, but any fact of the run has the project and the trace.
        if (told := await self._station.bus.last(subjects.FACTS, facts_of_tasks)) is None:
            return
        details = {"n": claim.n + 1, "late": True, "worker": self._station.worker_id, "handle": handle, "at": utc()}
        verdict = Verdict.afterwards(seen, claim.stopping)
        fact = claim.fact.model_copy(update={**details, "state": verdict.state, "outcome": None, **_details(verdict)})
        await self.tell(fit(fact, self._station.bus.payload_limit - _ENVELOPE), told)

    async def tell(self, fact: TaskFact, message: Message) -> None:
        """Publish a fact that follows from a command, unless it was told before, and wait until it is stored."""
        bus, subject = self._station.bus, _subject(fact, message)
        if not await self._station.lease.insist(lambda: is_told(bus, subject, fact)):
            await self._told(fact, message, self._post(fact, message))

    async def _clean_up(self, job: Job, fact: TaskFact | None, claim: Claim) -> None:
        """Remove the job, then acknowledge. What can't be removed now is the reaper's."""
        if claim.handle is not None and not (fact and fact.unconfirmed):
            try:
                await self._station.platform.remove(claim.handle)
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - foreign code; the reaper comes by again
                log.warning(
                    "job not removed", action="remove", key=job.event.key, handle=claim.handle, error=repr(error)
                )
        try:
            await job.message.ack(confirmed=True)
        except BusError as error:
            # It comes again, and finds the terminal claim.
            log.warning("acknowledgement not confirmed", action="acknowledge", key=job.event.key, error=str(error))

    async def _terminal(self, job: Job, verdict: Verdict) -> TaskFact:
        event, left = job.event, None
        if job.claim.may_have_job:
            tries = outcome.TRIES if event.needs_outcome else 1
            left = await outcome.read_if_possible(event.environment.get(OUTCOME), tries=tries)
        verdict = verdict.with_outcome(left, needed=event.needs_outcome)
        claim = job.claim.model_copy(update={"n": job.claim.n + 1})
        return self._fact(job, claim, verdict.state, outcome=left, **_details(verdict))

    def _fact(self, job: Job, claim: Claim, state: TaskState, **details: Any) -> TaskFact:
        event = job.event
        return TaskFact(
            run=event.run,
            block=event.block,
            attempt=event.attempt,
            resubmission=event.resubmission,
            key=event.key,
            state=state,
            n=claim.n,
            epoch=claim.epoch,
            executor_type=self._station.executor_type,
            pool=self._station.pool,
            worker=self._station.worker_id,
            handle=claim.handle,
            at=utc(),
            **details,
        )

    def _post(self, fact: TaskFact, message: Message) -> asyncio.Future[Stored]:
        self._station.lease.check()
        told = self._station.bus.post(
            _subject(fact, message),
            fact.to_json(),
            headers=cloudevents.headers_for(
                fact,
                event_id=fact.ce_id,
                source=f"/runmesh/worker/{self._station.worker_id}",
                trace=cloudevents.trace_of(message.headers),
            ),
            message_id=fact.ce_id,
        )
        told.add_done_callback(_noted)
        return told

    async def _told(self, fact: TaskFact, message: Message, told: asyncio.Future[Stored]) -> None:
        """Wait until a fact is stored; it is sent again under the same id as long as the lease holds."""
        try:
            stored = await told
        except (Unreachable, StreamFull):
            stored = await self._station.lease.insist(lambda: self._post(fact, message))
        if not (stored.duplicate or fact.late):
            metrics.task_told(fact)


def _timed(job: Job, fact: TaskFact) -> None:
    """Note how long a job took, and how long it was before anybody was told that it had ended."""
    if job.ended is not None:
        metrics.task_seconds(fact.executor_type, fact.pool).observe(job.ended - (job.started or job.submitted))
        metrics.to_fact(fact.executor_type, fact.pool).observe(clock() - job.ended)


def _log_end(job: Job, fact: TaskFact) -> None:
    """Log a task's outcome, once: its terminal claim is ours. Not the reason: that may quote what is secret."""
    told = {"attempt": fact.attempt, "state": fact.state, "cause": fact.cause, "exit_code": fact.exit_code}
    log.info("task ended", action="end", key=fact.key, **told)
    TRACING.task_ended(job.event, job.message.headers, job.claim)


def _subject(fact: TaskFact, message: Message) -> str:
    project = subjects.task_address(message.subject).project
    return subjects.task_fact(fact.state, fact.executor_type, fact.pool, project, fact.run, fact.block)


def _details(verdict: Verdict) -> dict[str, Any]:
    return {
        "cause": verdict.cause,
        "reason": verdict.reason,
        "exit_code": verdict.exit_code,
        "url": verdict.url,
        "log_tail": verdict.log_tail or None,
        "unconfirmed": verdict.unconfirmed or None,
        "handed_back": verdict.handed_back or None,
    }


def fit(fact: TaskFact, limit: int) -> TaskFact:
    """Return the fact, without what makes it too large: the log's tail, most of the outcome, then of the reason."""
    needed = {name: value for name, value in (fact.outcome or {}).items() if name in _NEEDED}
    for left_out in ({"log_tail": None}, {"outcome": needed or None}, {"outcome": None}):
        if len(fact.to_json()) <= limit:
            return fact
        fact = fact.model_copy(update=left_out)
    if len(fact.to_json()) > limit and fact.reason is not None:
        fact = fact.model_copy(update={"reason": f"{fact.reason[:2000]}…"})
    return fact


def _noted(told: asyncio.Future[Stored]) -> None:
    # Whoever sent it may be cancelled before the answer is there.
    if not told.cancelled():
        told.exception()

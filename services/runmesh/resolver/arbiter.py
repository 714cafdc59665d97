"""Who owns a task is decided by the creation of its claim, for the resolver as for every worker.

A task that must end (cancelled, or longer in the queue than `queue_timeout`) may be untouched, or a worker
may have it at this very moment. The resolver creates the claim itself, terminal. If that works, no worker
can ever start the task; if it fails, a worker owns it and will report.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from runmesh import metrics, subjects
from runmesh.bus import Bus
from runmesh.claims import Claim
from runmesh.cloudevents import headers_for
from runmesh.errors import Conflict
from runmesh.events import Cause, TaskFact, TaskState
from runmesh.resolver.advance import next_queue_timeout, queue_timeout_at
from runmesh.resolver.happened import Claimed, RunEvent, Unclaimed
from runmesh.resolver.owed import task_fact
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State
from runmesh.resolver.store import SOURCE, fact_subject
from runmesh.retelling import is_told
from runmesh.subjects import task_key
from runmesh.tracing import TRACING


class Arbiter:
    """Ends tasks that nobody claimed, and finds the ends of those that somebody did."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._claims = bus.bucket(subjects.CLAIMS)

    async def decide(self, plan: Plan, state: State, now: datetime) -> Sequence[RunEvent]:
        """End every unclaimed task that must end, and learn of those that a worker has."""
        if not state.stopping and ((due := next_queue_timeout(plan, state)) is None or due > now):
            return ()
        facts = [_end(plan, state, block, now) for block, record in state.out().items() if not record.claimed]
        must_end = [fact for fact in facts if fact]
        return await asyncio.gather(*(self._end_unclaimed(plan, state, fact) for fact in must_end)) if must_end else ()

    async def unknown(self, plan: Plan, state: State) -> Sequence[TaskFact | Unclaimed]:
        """Return what the claims know and the state doesn't: ends, and workers that let go of what they had."""
        out = state.out().items()
        keys = [plan.claim(name, record.attempt, record.resubmission) for name, record in out]
        entries = await asyncio.gather(*map(self._claims.get, keys))
        claims = [Claim.decode(entry.value) if entry else None for entry in entries]
        ends = [
            claim.fact  # a claim speaks for its own task only: its key is what its worker may write
            for key, claim in zip(keys, claims, strict=True)
            if claim and claim.fact and _claim_key(claim.fact) == key
        ]
        await asyncio.gather(*(self._tell(plan, state, fact) for fact in ends))
        gone = [
            Unclaimed(name, task_key(plan.run, name, record.attempt, record.resubmission))
            for (name, record), claim in zip(out, claims, strict=True)
            if record.claimed and claim is None
        ]
        return [*ends, *gone]

    async def _end_unclaimed(self, plan: Plan, state: State, fact: TaskFact) -> RunEvent:
        claim = Claim(owner="resolver", claimed_at=fact.at).finished(fact)
        try:
            await self._claims.create(_claim_key(fact), claim.encode())
        except Conflict:
            return await self._owned(plan, state, fact)
        await self._tell(plan, state, fact)
        return fact

    async def _owned(self, plan: Plan, state: State, fact: TaskFact) -> RunEvent:
        entry = await self._claims.get(_claim_key(fact))
        known = Claim.decode(entry.value).fact if entry else None
        if known is None:
            return Claimed(fact.block, fact.key)
        await self._tell(plan, state, known)
        return known

    async def _tell(self, plan: Plan, state: State, fact: TaskFact) -> None:
        """Publish an end, perhaps again: whoever wrote it into the claim may have died before."""
        subject = fact_subject(plan.project, fact)
        if not await is_told(self._bus, subject, fact):
            trace = TRACING.of_run(plan.trace, plan.run, state.created_at)
            headers = headers_for(fact, event_id=fact.ce_id, source=SOURCE, trace=trace)
            stored = await self._bus.publish(subject, fact.to_json(), headers=headers, message_id=fact.ce_id)
            if not stored.duplicate:
                metrics.task_told(fact)


def _claim_key(fact: TaskFact) -> str:
    return subjects.claim(fact.executor_type, fact.pool, fact.key)


def _end(plan: Plan, state: State, block: str, now: datetime) -> TaskFact | None:
    """Return the fact with which a task must end now, if it must."""
    record = state.tasks[block]
    timeout = queue_timeout_at(plan, record)
    if block in state.stopping or (state.stopping == "all" and not record.callback):
        end, cause, reason = TaskState.CANCELLED, Cause.CANCELLED, state.reason or "cancelled before a worker took it"
    elif timeout and timeout <= now:
        end, cause, reason = TaskState.FAILED, Cause.CAPACITY, f"no worker took it within {plan.queue_timeout:g} s"
    else:
        return None
    return task_fact(plan, block, record.attempt, record.resubmission, end, at=now, n=1, cause=cause, reason=reason)

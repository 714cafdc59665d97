"""Forgetting: what belongs to runs that ended 30 days ago is deleted, a little at every sweep."""

import zlib
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

import structlog

from runmesh import subjects
from runmesh.bus import Bus, Entry
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State, submitted
from runmesh.resolver.store import Store

_KEEP: Final = timedelta(days=30)
_EVERY: Final = 3600.0
_AT_ONCE: Final = 1000
log = structlog.get_logger()


class Retention:
    """Deletes old runs with their plans, stops and claims, oldest first."""

    def __init__(self, bus: Bus, keep: timedelta = _KEEP) -> None:
        self._store, self._keep = Store(bus), keep
        self._runs, self._claims = bus.bucket(subjects.RUNS), bus.bucket(subjects.CLAIMS)
        self._next = monotonic()

    async def sweep(self) -> None:
        """Delete what is too old, at most once an hour and at most a thousand runs at once."""
        if monotonic() < self._next:
            return
        self._next = monotonic() + _EVERY
        cutoff, deleted = datetime.now(UTC) - self._keep, 0
        async with aclosing(self._runs.oldest(subjects.run_state("*"))) as oldest:
            async for entry in oldest:
                if entry.at > cutoff or deleted >= _AT_ONCE:
                    break
                deleted += await self._delete_safely(entry)
        if deleted >= _AT_ONCE:
            self._next = monotonic()
        if deleted:
            log.info("deleted old runs", action="delete", count=deleted)

    async def _delete_safely(self, entry: Entry) -> bool:
        try:
            return await self._delete(entry.value)
        except (ValueError, zlib.error) as error:
            log.warning("unreadable run is kept", action="delete", key=entry.key, error=str(error)[:500])
            return False

    async def _delete(self, stored: bytes) -> bool:
        state = State.decode(stored)
        run = await self._store.load(state.run)
        if run is None or not run.state.final:
            return False
        for claim in _claim_keys(run.plan, run.state):
            await self._claims.delete(claim)
        if run.plan and run.plan.limits:
            pipeline = subjects.pipeline_key(run.plan.project, run.plan.pipeline)
            await self._runs.delete(subjects.waiting(pipeline, state.run))
        for key in (subjects.run_plan, subjects.cancelling, subjects.active, subjects.run_state):
            await self._runs.delete(key(state.run))
        return True


def _claim_keys(plan: Plan | None, state: State) -> list[str]:
    """Name the claims of every submission that there can have been."""
    if plan is None:
        return []
    return [
        plan.claim(name, attempt, resubmission)
        for name, (attempts, resubmissions) in submitted(state)
        for attempt in range(1, attempts + 1)
        for resubmission in range(resubmissions + 1)
    ]

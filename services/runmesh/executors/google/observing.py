"""What becomes of jobs, as far as the mesh is concerned; and the last lines of those that failed."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from runmesh.events import Cause
from runmesh.executor import ENDED, GONE, UNKNOWN, Handle, Observation, Phase
from runmesh.executors.google import naming
from runmesh.executors.google.known import Known
from runmesh.executors.google.logs import Logs
from runmesh.executors.google.looking import Looking
from runmesh.executors.google.refusals import Refused
from runmesh.executors.google.verdict import Found, failed, observed


class Observing:
    """Answers for the jobs of one worker."""

    def __init__(self, looking: Looking, known: Known, logs: Logs) -> None:
        self._looking, self._known, self._logs = looking, known, logs

    async def observe(self, handles: Collection[Handle]) -> dict[Handle, Observation]:
        """Return an answer for every handle. Raises `Unavailable` where Google throttles."""
        known = {handle: failure for handle in handles if (failure := self._known.failure(handle))}
        seen = await self._looking.look([handle for handle in handles if handle not in known])
        answers = await asyncio.gather(*(self._judged(handle, found) for handle, found in seen.items()))
        return {**dict.fromkeys(handles, UNKNOWN), **known, **dict(zip(seen, answers, strict=True))}

    async def _judged(self, handle: Handle, found: Found | None) -> Observation:
        entry = self._known.entry(handle)
        if found is None:
            if entry.miss():
                self._logs.ended()
            return GONE
        seen = observed(found, naming.url(handle))
        if entry.see(ended=seen.phase in ENDED):
            self._logs.ended()
        if seen.phase is not Phase.FAILED or not found.status:
            return seen
        if (tail := self._logs.tail(handle)) is None and seen.cause is not Cause.CANCELLED:
            return UNKNOWN
        if (failure := await self._failure(handle, replace(seen, log_tail=tail or ()))) is not UNKNOWN:
            entry.failure = failure
        return failure

    async def _failure(self, handle: Handle, seen: Observation) -> Observation:
        """Say why; UNKNOWN while nobody answers."""
        if seen.cause is Cause.CANCELLED:
            return seen
        try:
            execution, task = await self._looking.failure(handle)
        except (Refused, ConnectionError) as error:
            if isinstance(error, ConnectionError) or error.passing or error.unauthenticated:
                return UNKNOWN
            return replace(seen, cause=Cause.INFRASTRUCTURE, reason=f"why it failed can't be read: {error}")
        return failed(execution, task, url=seen.url or "", log_tail=seen.log_tail)

"""What becomes of tasks, as far as the mesh is concerned; and the last lines of those that failed."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from runmesh.clock import clock
from runmesh.executor import GONE, UNKNOWN, Handle, Observation, Phase
from runmesh.executors.amazon.ecs.known import Entry, Known
from runmesh.executors.amazon.ecs.logs import Logs
from runmesh.executors.amazon.ecs.looking import Looking
from runmesh.executors.amazon.ecs.verdict import observed
from runmesh.executors.amazon.refusals import Refused

_TAIL_TRIES: Final = 3
_TAIL_WITHIN: Final = 3.0

Json = Mapping[str, Any]


class Observing:
    """Answers for the tasks of one worker."""

    def __init__(self, looking: Looking, known: Known, logs: Logs) -> None:
        self._looking, self._known, self._logs = looking, known, logs

    async def observe(self, handles: Collection[Handle]) -> dict[Handle, Observation]:
        """Return an answer for every handle. Raises `Unavailable` where AWS throttles."""
        ends = {handle: entry.end for handle in handles if (entry := self._known.get(handle)) and entry.end}
        seen = await self._looking.look([handle for handle in handles if handle not in ends])
        answers = await asyncio.gather(*(self._judged(handle, found) for handle, found in seen.items()))
        return {**dict.fromkeys(handles, UNKNOWN), **ends, **dict(zip(seen, answers, strict=True))}

    async def _judged(self, handle: Handle, found: Json | None) -> Observation:
        if found is None:
            return GONE
        seen = observed(found)
        entry = self._known.get(handle)
        if entry is None or seen.phase is not Phase.FAILED:
            return entry.judge(seen) if entry else seen
        tail = await self._tail(handle, entry)
        return UNKNOWN if tail is None else entry.judge(observed(found, log_tail=tail))

    async def _tail(self, handle: Handle, entry: Entry) -> tuple[str, ...] | None:
        """Return the last lines; nothing if they can't be had; None: not yet, but maybe the next time.

        Others wait for the same answer, and so it comes soon.
        """
        entry.tail_tries += 1
        try:
            async with asyncio.timeout(_TAIL_WITHIN):
                if (tail := await self._logs.tail(handle, entry)) or clock() >= entry.all_shown_at:
                    return tail
                return None
        except Refused as refused:
            later = refused.passing or refused.unauthenticated
        except (ConnectionError, TimeoutError):
            later = True
        return None if later and entry.tail_tries < _TAIL_TRIES else ()

"""What becomes of Jobs, from what is known of them; and the few questions that the watch doesn't answer.

The watch tells nearly everything. Asked for are the last lines of a Job that failed, a Job that the watch never told of
(it may be gone, or too new), and why a Job has no pod yet.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from runmesh.clock import clock
from runmesh.executor import ENDED, GONE, UNKNOWN, Handle, Observation, Phase
from runmesh.executors.kubernetes.known import JOBS, Entry, Json, Known, handle_of
from runmesh.executors.kubernetes.logs import Logs
from runmesh.executors.kubernetes.refusals import Refused
from runmesh.executors.kubernetes.verdict import observed
from runmesh.executors.kubernetes.watch import catch_up, path

if TYPE_CHECKING:
    from runmesh.executors.kubernetes.client import Client

log = structlog.get_logger(__name__)

_TAIL_TRIES: Final = 3
_AT_ONCE: Final = 16
_PODLESS: Final = 2.0
"""Seconds for which a Job may have no pod before anybody asks why."""
_ASKED_EVERY: Final = 30.0
_ENDED_PODS: Final = frozenset({"Succeeded", "Failed"})


class Observing:
    """Answers for the Jobs of one worker."""

    def __init__(self, client: "Client", known: Known, logs: Logs) -> None:
        self._client, self._known, self._logs = client, known, logs
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tails: dict[Handle, int] = {}
        """How often the last lines of a Job could not be had."""
        self._ask_at: dict[Handle, float] = {}
        """When to ask why a Job has no pod."""

    async def observe(self, handles: Collection[Handle]) -> dict[Handle, Observation]:
        """Return what is known, and ask for the rest. Raises nothing for a question without an answer."""
        seen = {handle: self._seen(handle) for handle in handles}
        asked = [handle for handle, found in seen.items() if found is None]
        answers = await asyncio.gather(*map(self._asked, asked))
        return {handle: found for handle, found in seen.items() if found} | dict(zip(asked, answers, strict=True))

    def _seen(self, handle: Handle) -> Observation | None:
        """Return what is known; None if that takes a question."""
        entry = self._known.get(handle)
        if self._known.is_gone(handle):
            return GONE
        if entry is None:
            return None if self._known.synced(handle.split("/")[0]) else UNKNOWN
        if entry.seen is None:
            seen = _judged(entry)
            if seen.phase is Phase.FAILED:
                return None
            if seen.phase is Phase.PENDING and self._is_odd(handle, entry):
                return None
            entry.seen = seen if entry.pods or seen.phase is not Phase.PENDING else None
            return seen
        return entry.seen

    async def _asked(self, handle: Handle) -> Observation:
        async with self._room:
            try:
                return await self._answer(handle)
            except (Refused, ConnectionError, TimeoutError) as error:
                log.warning("job not observed", handle=handle, error=repr(error))
                return UNKNOWN

    async def _answer(self, handle: Handle) -> Observation:
        entry = self._known.get(handle)
        if entry is None:
            return await self._looked_up(handle)
        seen = _judged(entry)
        if seen.phase is Phase.PENDING:
            return _judged(entry, events=await self._warnings(handle))
        if seen.phase is not Phase.FAILED:
            return seen
        if entry.behind:
            await catch_up(self._client, self._known, handle)
        tail = await self._tail(handle, entry)
        seen = _judged(entry, tail=tail or ())
        if tail is None:
            return UNKNOWN
        entry.seen = seen if seen.phase in ENDED else None
        return seen

    async def _looked_up(self, handle: Handle) -> Observation:
        namespace, name, _ = handle.split("/")
        found = await read_job(self._client, namespace, name)
        if found is None or handle_of(found) != handle:
            return GONE
        self._known.created(found)
        return UNKNOWN

    async def _tail(self, handle: Handle, entry: Entry) -> tuple[str, ...] | None:
        """Return the last lines; nothing if they can't be had; None: not yet, but maybe the next time."""
        try:
            found = await self._logs.tail(entry.pods[-1]) if entry.pods else ()
        except Refused as refused:
            if not refused.passing:
                return ()
            found = None
        except (ConnectionError, TimeoutError):
            found = None
        tries = self._tails.pop(handle, 0) + 1
        if found is None and tries < _TAIL_TRIES:
            self._tails[handle] = tries
            return None
        return found or ()

    async def _warnings(self, handle: Handle) -> list[Json]:
        """Return why a Job has no pod: the controller says so in events only."""
        namespace, _, uid = handle.split("/")
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning"}
        found: list[Json] = (await self._client.get(f"/api/v1/namespaces/{namespace}/events", **query))["items"]
        return found

    def _is_odd(self, handle: Handle, entry: Entry) -> bool:
        """Whether a Job should have a pod by now, and it is time to ask why it has none."""
        job = entry.job
        if entry.pods or job is None or job["spec"].get("suspend"):
            self._ask_at.pop(handle, None)
            return False
        at = self._ask_at.setdefault(handle, clock() + _PODLESS)
        if clock() < at:
            return False
        self._ask_at[handle] = clock() + _ASKED_EVERY
        return True


async def read_job(client: "Client", namespace: str, name: str) -> Json | None:
    """Ask for one Job; None: there is none."""
    try:
        return await client.get(path(JOBS, namespace, name))
    except Refused as refused:
        if refused.missing:
            return None
        raise


def _judged(entry: Entry, *, tail: tuple[str, ...] = (), events: Collection[Mapping[str, object]] = ()) -> Observation:
    job, pods = entry.job, entry.pods
    if job is None:
        # Somebody deleted it without its pods, which go on for a while.
        running = any(pod["status"].get("phase") not in _ENDED_PODS for pod in pods)
        return UNKNOWN if running else GONE
    return observed(job, pods, events=list(events), log_tail=tail)

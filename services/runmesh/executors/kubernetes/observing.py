"""What becomes of Jobs, from what is known of them; and the few questions that the watch doesn't answer.

The watch tells nearly everything. Asked for are the last lines of a Job that failed, a Job that the watch never told of
(it may be gone, or too new), and the warnings about a Job that doesn't start. A question that is not answered at once
goes on by itself, so that no Job waits for another one's answer: a log on a node that is lost takes its time.
"""

import asyncio
from collections.abc import Collection
from functools import partial
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
_PATIENCE: Final = 1.0
"""Seconds for which an observation waits for answers."""
_PODLESS: Final = 2.0
"""Seconds for which a Job may have no pod before anybody asks why."""
_SILENT: Final = 5.0
"""Seconds for which a pod may not start, and not say why, before anybody asks."""
_LONGEST_PAUSE: Final = 300.0
_STAMPS: Final = ("lastTimestamp", "eventTime")
_ENDED_PODS: Final = frozenset({"Succeeded", "Failed"})


class Observing:
    """Answers for the Jobs of one worker."""

    def __init__(self, client: "Client", known: Known, logs: Logs) -> None:
        self._client, self._known, self._logs = client, known, logs
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._asking: dict[Handle, asyncio.Task[Observation]] = {}

    async def close(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for question in asking:
            question.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def observe(self, handles: Collection[Handle]) -> dict[Handle, Observation]:
        """Return what is known, and ask for the rest: UNKNOWN, and a hint when it is known, if that takes longer."""
        seen = {handle: self._seen(handle) for handle in handles}
        asked = {handle: self._ask(handle) for handle, found in seen.items() if found is None}
        if asked:
            await asyncio.wait(asked.values(), timeout=_PATIENCE)
        for handle, question in asked.items():
            if not question.done():
                question.add_done_callback(partial(self._answered_late, handle))
        answers = {handle: each.result() if each.done() else UNKNOWN for handle, each in asked.items()}
        return {handle: found for handle, found in seen.items() if found} | answers

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
            if seen.phase is not Phase.PENDING or (seen.reason and not entry.asked.warnings):
                entry.seen = seen
            elif _is_odd(entry):
                return None
            return seen
        return entry.seen

    def _ask(self, handle: Handle) -> asyncio.Task[Observation]:
        """Return the question about a Job: the one that is being asked, or a new one."""
        if handle not in self._asking:
            question = self._asking[handle] = asyncio.create_task(self._asked(handle))
            question.add_done_callback(lambda _: self._asking.pop(handle))
        return self._asking[handle]

    def _answered_late(self, handle: Handle, question: asyncio.Task[Observation]) -> None:
        if not question.cancelled() and question.result() != UNKNOWN:
            self._known.hint(handle)

    async def _asked(self, handle: Handle) -> Observation:
        async with self._room:
            try:
                return await self._answer(handle)
            except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing of the Job
                log.warning("job not observed", action="observe", handle=handle, error=repr(error))
                return UNKNOWN

    async def _answer(self, handle: Handle) -> Observation:
        entry = self._known.get(handle)
        if entry is None:
            return await self._looked_up(handle)
        if _judged(entry).phase is Phase.PENDING:
            await self._ask_why(handle, entry)
        if (seen := _judged(entry)).phase is not Phase.FAILED:
            return seen
        if entry.behind:
            await catch_up(self._client, self._known, handle)
        tail = await self._tail(entry)
        if tail is None:
            return UNKNOWN
        seen = _judged(entry, tail=tail)
        entry.seen = seen if seen.phase in ENDED else None
        return seen

    async def _looked_up(self, handle: Handle) -> Observation:
        namespace, name, _ = handle.split("/")
        found = await read_job(self._client, namespace, name)
        if found is None or handle_of(found) != handle:
            self._known.note_gone(handle)
            return GONE
        self._known.created(found)
        return UNKNOWN

    async def _tail(self, entry: Entry) -> tuple[str, ...] | None:
        """Return the last lines; nothing if they can't be had; None: not yet, but maybe the next time."""
        try:
            return await self._logs.tail(entry.pods[-1]) if entry.pods else ()
        except (Refused, ConnectionError, TimeoutError) as error:
            if isinstance(error, Refused) and not error.passing:
                return ()
        entry.asked.tails += 1
        return None if entry.asked.tails < _TAIL_TRIES else ()

    async def _ask_why(self, handle: Handle, entry: Entry) -> None:
        """Read the warnings about a Job, or its pod: controllers and nodes say in events only why nothing happens."""
        asked, about = entry.asked, _unready(entry)
        events = f"/api/v1/namespaces/{handle.split('/')[0]}/events"
        found = await self._client.get(events, fieldSelector=f"involvedObject.uid={about},type=Warning")
        asked.about, asked.warnings = about, [_brief(event) for event in found["items"]]


def _is_odd(entry: Entry) -> bool:
    """Whether a Job should have started by now, and it is time to ask why it has not: less often each time."""
    job, asked, about = entry.job, entry.asked, _unready(entry)
    if job is None or job["spec"].get("suspend"):
        return False
    if about != asked.about:
        asked.about, asked.warnings = about, ()
        asked.pause = _SILENT if entry.pods else _PODLESS
        asked.again = clock() + asked.pause
    if clock() < asked.again:
        return False
    asked.pause = min(_LONGEST_PAUSE, 2 * asked.pause)
    asked.again = clock() + asked.pause
    return True


def _unready(entry: Entry) -> str | None:
    """Return the uid of what doesn't go on: the newest pod, or the Job that has none."""
    thing = entry.pods[-1] if entry.pods else entry.job
    uid: str | None = thing["metadata"].get("uid") if thing else None
    return uid


def _brief(event: Json) -> Json:
    """Return what is read of an event."""
    return {name: event[name] for name in ("type", "reason", "message", "series", *_STAMPS) if event.get(name)}


async def read_job(client: "Client", namespace: str, name: str) -> Json | None:
    """Ask for one Job; None: there is none."""
    try:
        return await client.get(path(JOBS, namespace, name))
    except Refused as refused:
        if refused.missing:
            return None
        raise


def _judged(entry: Entry, *, tail: tuple[str, ...] = ()) -> Observation:
    job, pods = entry.job, entry.pods
    if job is None:
        # Somebody deleted it without its pods, which go on for a while.
        running = any(pod["status"].get("phase") not in _ENDED_PODS for pod in pods)
        return UNKNOWN if running else GONE
    return observed(job, pods, events=entry.asked.warnings, log_tail=tail)

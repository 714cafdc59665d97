"""What jobs print, carried to LOGS in batches, in order, and never at a task's expense.

Lines wait up to 100 ms for company. Batches are sent without waiting for each confirmation, but only so many may be
unconfirmed, and of all jobs together only so many bytes. Each message carries, in a header, the position behind it, so
that the worker that adopts a job goes on where the last stored batch ends.

A job that writes more than its allowance has some of it left out (`allowance.py`), with a line that says how much.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

import structlog
from pydantic_core import from_json, to_json

from runmesh import cloudevents, subjects
from runmesh.bus import Stored
from runmesh.errors import BusError
from runmesh.events import LogLines
from runmesh.executor import LogLine, Position, StreamsLogs
from runmesh.worker.allowance import FRAME, Allowance, Gap
from runmesh.worker.jobs import Job, utc
from runmesh.worker.station import Station

log = structlog.get_logger(__name__)

POSITION: Final = "Runmesh-Position"
COMPANY: Final = 0.1
MOST_BYTES: Final = 64 * 1024
MOST_LINES: Final = 500
MOST_UNCONFIRMED: Final = 64
MOST_UNCONFIRMED_BYTES: Final = 32 * 2**20
"""Of all jobs of a worker."""
END: Final = 2.0
"""Seconds that a terminal fact waits for the last lines."""
REST: Final = 120.0
"""Seconds that a job's removal waits for them: thousands that end at once are read one after another."""
_TASK_ENDED: Final = "the task has ended"

Stream = Literal["stdout", "stderr"]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Logs:
    """Follows the output of every job, where the executor can."""

    def __init__(self, station: Station, spawn: Spawn) -> None:
        self._station = station
        self._spawn = spawn
        executor = station.platform.executor
        self._source = executor if isinstance(executor, StreamsLogs) else None
        self._unconfirmed = Unconfirmed(MOST_UNCONFIRMED_BYTES)

    def follow(self, job: Job) -> None:
        """Carry a job's lines from now on."""
        if self._source is not None and job.follower is None:
            job.follower = self._spawn(self._carry(job, self._source))

    async def end(self, job: Job) -> None:
        """Wait a moment until the last lines are stored, so that they come before the end is told."""
        if job.follower is not None and not job.follower.done():
            await asyncio.wait([job.follower], timeout=END)

    async def rest(self, job: Job) -> None:
        """Wait until all that is left is stored, while the job is still there, but not for ever.

        Not at all where a job holds a slot until its end, which others wait for.
        """
        if job.follower is None:
            return
        _, late = await asyncio.wait([job.follower], timeout=REST if self._station.platform.adoptable else 0)
        for follower in late:
            follower.cancel(_TASK_ENDED)
            log.warning("log cut short", action="log", key=job.event.key)

    async def _carry(self, job: Job, source: StreamsLogs) -> None:
        try:
            batches = Batches(self._station, job, await self._reached(job), self._unconfirmed)
            try:
                async for line in source.logs(job.handle, since=batches.posted):
                    await batches.take(line)
            except asyncio.CancelledError as cancelled:
                if _TASK_ENDED in cancelled.args:
                    batches.cut()
                raise
            finally:
                batches.finish()
            await batches.confirmed()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the task goes on
            log.warning("log not carried", action="log", key=job.event.key, error=repr(error))

    async def _reached(self, job: Job) -> Position:
        """Return the position behind what an earlier owner of this job has stored."""
        if job.claim.epoch == 0:
            return Position()
        last = await self._station.bus.last(subjects.LOGS, _subject(self._station, job))
        if last is None or last.headers.get("ce-subject") != job.event.key:
            return Position()
        stdout, stderr = from_json(last.headers[POSITION])
        return Position(tuple(stdout), tuple(stderr))


class Unconfirmed:
    """The bytes that are sent and not confirmed yet."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._fewer = asyncio.Event()

    def add(self, sent: asyncio.Future[Stored], size: int) -> None:
        """Count bytes until they are confirmed, or refused."""
        self._bytes += size
        sent.add_done_callback(lambda _: self._done(size))

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self._bytes > self._most:
            self._fewer.clear()
            await self._fewer.wait()

    def _done(self, size: int) -> None:
        self._bytes -= size
        self._fewer.set()


class Batches:
    """Gathers one job's lines, per stream, and sends them."""

    def __init__(self, station: Station, job: Job, posted: Position, all_unconfirmed: Unconfirmed) -> None:
        self._station = station
        self._job = job
        self.posted = posted
        self._allowance = Allowance(station.settings.log_burst, station.settings.log_rate)
        self._gaps: dict[Stream, Gap] = {"stdout": Gap(), "stderr": Gap()}
        self._lines: dict[Stream, list[LogLine]] = {"stdout": [], "stderr": []}
        self._size = 0
        self._count = 0
        self._unconfirmed: deque[asyncio.Future[Stored]] = deque()
        self._all_unconfirmed = all_unconfirmed
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, line: LogLine) -> None:
        """Add a line, or leave it out; send when there is enough."""
        gap = self._gaps[line.stream]
        if not self._allowance.take(len(line.text) + FRAME):
            gap.add(line)
            return
        for each in (*gap.close(), line):
            self._add(each)
        if self._size >= MOST_BYTES or self._count >= MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COMPANY, self.flush)
        while len(self._unconfirmed) > MOST_UNCONFIRMED:
            await asyncio.wait([self._unconfirmed.popleft()])
        await self._all_unconfirmed.room()

    def finish(self) -> None:
        """Send all that is left, and the end of what was left out."""
        for gap in self._gaps.values():
            for line in gap.close(at_end=True):
                self._add(line)
        self.flush()

    def cut(self) -> None:
        """Say that the rest of the output was not read in time."""
        self.finish()
        number = self.posted.stdout[1] + 1
        self._add(LogLine("stdout", number, f"… the rest left out: {_TASK_ENDED}", self.posted))

    def _add(self, line: LogLine) -> None:
        lines = self._lines[line.stream]
        if lines and lines[-1].number + 1 != line.number:
            self._post(line.stream, lines)
            lines.clear()
        lines.append(line)
        self._size += len(line.text)
        self._count += 1

    def flush(self) -> None:
        """Send what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for stream, lines in self._lines.items():
            if lines:
                self._post(stream, lines)
                lines.clear()
        self._size = self._count = 0

    async def confirmed(self) -> None:
        """Wait until all that was sent is stored, or refused."""
        if self._unconfirmed:
            await asyncio.wait(self._unconfirmed)

    def _post(self, stream: Stream, lines: list[LogLine]) -> None:
        event = self._job.event
        batch = LogLines(
            run=event.run,
            block=event.block,
            attempt=event.attempt,
            resubmission=event.resubmission,
            stream=stream,
            first=lines[0].number,
            lines=tuple(line.text for line in lines),
            at=utc(),
        )
        reached: tuple[int, int] = getattr(lines[-1].position, stream)
        self.posted = self.posted._replace(**{stream: reached})
        headers = self._headers(batch)
        data = batch.to_json()
        sent = self._station.bus.post(
            _subject(self._station, self._job),
            data,
            headers=headers,
            message_id=headers["ce-id"],
            timeout=30.0,
        )
        sent.add_done_callback(_noted)
        self._unconfirmed.append(sent)
        self._all_unconfirmed.add(sent, len(data))

    def _headers(self, batch: LogLines) -> dict[str, str]:
        key = self._job.event.key
        headers = cloudevents.headers_for(
            batch,
            event_id=f"{key}.{batch.stream}.{batch.first}",
            source=f"/runmesh/worker/{self._station.worker_id}",
            trace=cloudevents.trace_of(self._job.message.headers),
        )
        return {**headers, "ce-subject": key, POSITION: to_json(self.posted).decode()}


def _subject(station: Station, job: Job) -> str:
    event = job.event
    return subjects.log(station.executor_type, station.pool, event.project, event.run, event.block)


def _noted(sent: asyncio.Future[Stored]) -> None:
    if not sent.cancelled() and isinstance(error := sent.exception(), BusError):
        log.warning("log lines lost", action="log", error=str(error))

"""Jobs' output, from Cloud Logging: one reader for all jobs of a worker, a hundred of them by one question.

A project may be asked 60 times a minute, by all its workers together: so nobody reads alone. Each question names the
executions, and for each the time from which on it is to be read (`output` says why that goes back a little). A log is
complete when a reading that began a while after its job's end has brought nothing more.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from runmesh.clock import clock
from runmesh.errors import Unavailable
from runmesh.executor import ENDED, Handle, LogLine, Position
from runmesh.executors.google import naming
from runmesh.executors.google.known import Entry, Known
from runmesh.executors.google.looking import Looking
from runmesh.executors.google.naming import Place
from runmesh.executors.google.options import Options
from runmesh.executors.google.output import Line, Output
from runmesh.executors.google.pace import Pace
from runmesh.executors.google.refusals import Refused
from runmesh.executors.google.verdict import observed

if TYPE_CHECKING:
    from runmesh.executors.google.session import Google

log = structlog.get_logger(__name__)

EXECUTION: Final = "run.googleapis.com/execution_name"
_STREAMS: Final = (
    'resource.type="cloud_run_job" (log_id("run.googleapis.com/stdout") OR log_id("run.googleapis.com/stderr"))'
)
_PER_CALL: Final = 100
"""Executions that one question names: it may have 20,000 characters."""
_PAGE: Final = 1000
_MOST_PAGES: Final = 20
_MOST_WAITING: Final = 20_000
"""Lines of one job that nobody has taken: then no more of it are read."""
_SINCE: Final = 8 * 86400
"""Seconds that a job can be old."""
_TAIL_WITHIN: Final = 30.0
"""Seconds after its end for which a failure waits for its last lines."""
_BURST: Final = 3.0
_LONGEST_PAUSE: Final = 10.0
_LONGEST_WAIT: Final = 60.0


class Logs:
    """The logs of one worker's jobs; `run` must go on meanwhile."""

    def __init__(self, google: "Google", looking: Looking, known: Known, options: Options) -> None:
        self._google, self._looking, self._known, self._options = google, looking, known, options
        self._pace = Pace(options.log_reads, _BURST)
        self._read: dict[Output, tuple[Place, Entry]] = {}
        self._some = asyncio.Event()
        self._round, self._haste = asyncio.Event(), asyncio.Event()
        self._pause = 0.0

    async def follow(self, handle: Handle, since: Position) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the job has ended and all is read."""
        reached = {"stdout": (0, 0), "stderr": (0, 0)}
        async for line in self._lines(handle):
            size, number = reached[line.stream]
            reached[line.stream] = size + len(line.text.encode(errors="replace")) + 1, number + 1
            if number + 1 > getattr(since, line.stream)[1]:
                yield LogLine(line.stream, number + 1, line.text, Position(reached["stdout"], reached["stderr"]))

    def tail(self, handle: Handle) -> tuple[str, ...] | None:
        """Return the last lines of a job that has ended; None: not yet, ask again."""
        entry = self._known.entry(handle)
        if entry.output is None:
            self._open(handle, entry)
        output, waited = entry.output, clock() - (entry.ended_at or clock())
        assert output is not None  # noqa: S101 - just opened
        if output.complete or output.error or waited > _TAIL_WITHIN:
            return tuple(output.tail)
        return None

    def hurry(self) -> None:
        """A job has ended: its last lines are waited for."""
        self._haste.set()

    def forget(self, handle: Handle) -> None:
        """Read no more of a job than those want who follow it."""
        output = self._known.entry(handle).output
        if output is not None and not output.followed:
            self._read.pop(output, None)
        self._known.forget(handle)

    async def run(self) -> None:
        """Read for ever what is to be read."""
        while True:
            await self._some.wait()
            await self._read_all()
            await self._rest()

    # --- one job ------------------------------------------------------------------------------------

    async def _lines(self, handle: Handle) -> AsyncIterator[Line]:
        entry = self._known.entry(handle)
        with self._followed(handle, entry) as output:
            while True:
                for line in output.take():
                    yield line
                if output.error:
                    raise output.error
                if output.complete and not output.waiting:
                    return
                await self._wait(handle, entry)

    @contextmanager
    def _followed(self, handle: Handle, entry: Entry) -> Iterator[Output]:
        output = self._open(handle, entry)
        output.followed = True
        try:
            yield output
        finally:
            output.followed = False
            self._read.pop(output, None)

    def _open(self, handle: Handle, entry: Entry) -> Output:
        since = time.time_ns() - _SINCE * 10**9
        output = Output(naming.execution_id(handle), since, self._options.log_settle)
        entry.output = output
        self._read[output] = Place.of(handle), entry
        self._some.set()
        return output

    async def _wait(self, handle: Handle, entry: Entry) -> None:
        """Wait for the next reading; see to it that somebody looks for the job's end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.poll):
                await self._round.wait()
        if entry.ended_at is None and clock() - entry.seen_at > 2 * self._options.poll:
            await self._look(handle, entry)

    async def _look(self, handle: Handle, entry: Entry) -> None:
        with suppress(Unavailable):
            for found in (await self._looking.look([handle])).values():
                if entry.see(ended=found is None or observed(found, "").phase in ENDED):
                    self.hurry()

    # --- all jobs -----------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        """Read once all that is to be read."""
        news = False
        for who, project, outputs in self._chunks():
            try:
                news |= await self._read_some(who, project, outputs)
            except (Refused, ConnectionError) as error:
                self._failed(error, outputs)
            self._round.set()
            self._round = asyncio.Event()
        self._pause = 0.0 if news else min(_LONGEST_PAUSE, max(self._options.log_settle / 4, self._pause * 1.5))

    async def _rest(self) -> None:
        """Wait, the longer the less there is to read; not where a job's end is near enough to wait for."""
        if not self._read:
            self._some.clear()
            return
        ending = any(entry.ended_at is not None for _, entry in self._read.values())
        self._haste.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._pause, self._options.log_settle / 4) if ending else self._pause):
                await self._haste.wait()

    def _chunks(self) -> Iterator[tuple[str | None, str, Sequence[Output]]]:
        groups: dict[tuple[str | None, str], list[Output]] = {}
        for output, (place, _) in self._read.items():
            if not (output.complete or output.error) and output.waiting < _MOST_WAITING:
                groups.setdefault((place.credentials, place.project), []).append(output)
        for (who, project), outputs in groups.items():
            for first in range(0, len(outputs), _PER_CALL):
                yield who, project, outputs[first : first + _PER_CALL]

    async def _read_some(self, who: str | None, project: str, outputs: Sequence[Output]) -> bool:
        request = {
            "resource_names": [f"projects/{project}"],
            "filter": question(outputs),
            "order_by": "timestamp asc",
            "page_size": _PAGE,
        }
        began, news, by_name = clock(), False, {output.execution: output for output in outputs}
        await self._pace.turn()
        pages, more = 0, False
        async for page in self._google.pages(who, "logging", "list_log_entries", request):
            pages += 1
            for entry in type(page).pb(page).entries:
                output = by_name.get(entry.labels.get(EXECUTION, ""))
                news |= output is not None and output.add(line_of(entry), clock())
            if more := pages == _MOST_PAGES:
                break
            await self._pace.turn()
        for output in outputs:
            if output in self._read:
                output.turn(began, clock(), self._read[output][1].ended_at, more=more)
        return news

    def _failed(self, error: Refused | ConnectionError, outputs: Iterable[Output]) -> None:
        if isinstance(error, Refused) and not error.passing:
            for output in outputs:
                output.error = error
            return
        log.info("logs not read", error=str(error))
        self._pause = min(_LONGEST_WAIT, max(1.0, self._pause * 2))


def question(outputs: Iterable[Output]) -> str:
    """Return the filter of what is to be read of some executions (pure)."""
    return f"{_STREAMS} ({' OR '.join(map(_clause, outputs))})"


def _clause(output: Output) -> str:
    seconds, nanos = divmod(output.cursor, 10**9)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
    return f'(labels."{EXECUTION}"="{output.execution}" timestamp>="{at}")'


def line_of(entry: Any) -> Line:
    """Return the line of an entry. A JSON object was taken apart by Cloud Run, and is put together again."""
    at = entry.timestamp.seconds * 10**9 + entry.timestamp.nanos
    stream: Literal["stdout", "stderr"] = "stderr" if entry.log_name.endswith("stderr") else "stdout"
    return Line(at, entry.insert_id, stream, entry.text_payload or _text(entry))


def _text(entry: Any) -> str:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - the SDK, which only workers need

    found = MessageToDict(entry.json_payload) if entry.HasField("json_payload") else {}
    if found.keys() == {"message"}:
        return str(found["message"])
    return json.dumps(found, ensure_ascii=False) if found else ""

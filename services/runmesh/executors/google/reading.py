"""Reading Cloud Logging: one reader for all jobs of a worker, a hundred of them by one question.

A project may be asked 60 times a minute, by all its workers together: so nobody reads alone. Each question names the
executions, and for each the time from which on it is to be read (`output` says why that goes back a little).
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from runmesh.clock import clock
from runmesh.executors.google.known import Entry
from runmesh.executors.google.naming import Place
from runmesh.executors.google.options import Options
from runmesh.executors.google.output import FLOOD, Line, Output
from runmesh.executors.google.refusals import Refused
from runmesh.platforms.turns import LIVELY, Turns

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
_MOST_PAGES: Final = FLOOD * _PER_CALL // _PAGE
"""So that one of the jobs at least is a flood where there are more, and the reading goes on."""
_MOST_WAITING: Final = 2**20
"""Characters of one job that nobody has taken: then no more of it are read."""
_LONGEST_PAUSE: Final = 10.0
_LONGEST_WAIT: Final = 60.0


class Reader:
    """Reads the lines of all jobs that are wanted; `run` must go on meanwhile."""

    def __init__(self, google: "Google", options: Options) -> None:
        self._google, self._options = google, options
        self._turns = Turns()
        self._wanted: dict[Output, tuple[Place, Entry]] = {}
        self._some, self._haste = asyncio.Event(), asyncio.Event()
        self._round = asyncio.Event()
        self._pause = 0.0

    def want(self, output: Output, place: Place, entry: Entry) -> None:
        """Read a job's lines from now on, until its log is complete."""
        self._wanted[output] = place, entry
        self._some.set()

    def leave(self, output: Output) -> None:
        """Read no more of it."""
        self._wanted.pop(output, None)

    def hurry(self) -> None:
        """A job has ended: its last lines are waited for."""
        self._haste.set()

    async def news(self, within: float) -> None:
        """Wait until something was read, for some seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._round.wait()

    async def run(self) -> None:
        """Read for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._turns.give(self._options.log_reads))
            while True:
                await self._some.wait()
                await self._read_all()
                await self._rest()

    async def _read_all(self) -> None:
        """Read once all that is wanted; what has ended is waited for, and read in between as well."""
        news, chunks = False, list(self._chunks(self._wanted))
        for chunk in chunks:
            news |= await self._tried(*chunk)
            ended = (output for output, (_, entry) in self._wanted.items() if entry.ended_at is not None)
            if chunk is not chunks[-1] and (awaited := next(self._chunks(ended), None)):
                news |= await self._tried(*awaited)
        self._pause = 0.0 if news else min(_LONGEST_PAUSE, max(self._soon, self._pause * 1.5))

    async def _tried(self, who: str | None, project: str, outputs: Sequence[Output]) -> bool:
        """Read some outputs, if it can be done now; return whether there were news."""
        try:
            return await self._read(who, project, outputs)
        except Exception as error:  # noqa: BLE001 - nobody else reads: it must go on
            self._failed(error, outputs)
            return False
        finally:
            self._round.set()
            self._round = asyncio.Event()

    async def _rest(self) -> None:
        """Wait, the longer the less there is to read; not long where a job has ended, or ends now."""
        if not self._wanted:
            self._some.clear()
            return
        self._haste.clear()
        ended = any(entry.ended_at is not None for _, entry in self._wanted.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._pause, self._soon) if ended else self._pause):
                await self._haste.wait()

    @property
    def _soon(self) -> float:
        return self._options.log_settle / 4

    def _chunks(self, outputs: Iterable[Output]) -> Iterator[tuple[str | None, str, Sequence[Output]]]:
        groups: dict[tuple[str | None, str], list[Output]] = {}
        for output in outputs:
            place, _ = self._wanted[output]
            if output.waiting < _MOST_WAITING:
                groups.setdefault((place.credentials, place.project), []).append(output)
        for (who, project), found in groups.items():
            for first in range(0, len(found), _PER_CALL):
                yield who, project, found[first : first + _PER_CALL]

    async def _read(self, who: str | None, project: str, outputs: Sequence[Output]) -> bool:
        """Read some outputs as far as they go; return whether there were news."""
        by_name: dict[str, list[Output]] = {}
        for output in outputs:
            by_name.setdefault(output.execution, []).append(output)
        await self._turns.turn(LIVELY)
        began, pages, news, more = clock(), 0, False, False
        asked = {"filter": question(outputs), "order_by": "timestamp asc", "page_size": _PAGE}
        request = {"resource_names": [f"projects/{project}"], **asked}
        async for page in self._google.pages(who, "logging", "list_log_entries", request):
            found, pages = type(page).pb(page), pages + 1
            for entry in found.entries:
                for output in by_name.get(entry.labels.get(EXECUTION, ""), ()):
                    news |= output.add(line_of(entry), clock())
            if not found.next_page_token:
                break
            if more := pages == _MOST_PAGES:
                break
            await self._turns.turn(LIVELY)
        self._turn(outputs, began, more=more)
        return news

    def _turn(self, outputs: Iterable[Output], began: float, *, more: bool) -> None:
        for output in outputs:
            if output in self._wanted:
                output.turn(began, clock(), self._wanted[output][1].ended_at, more=more)
            if output.complete:
                self.leave(output)

    def _failed(self, error: Exception, outputs: Iterable[Output]) -> None:
        if isinstance(error, Refused) and not (error.passing or error.unauthenticated):
            for output in outputs:
                output.error = error
                self.leave(output)
            return
        log.info("logs not read", action="log", error=str(error) or repr(error))
        self._pause = min(_LONGEST_WAIT, max(1.0, self._pause * 2))


def question(outputs: Iterable[Output]) -> str:
    """Return the filter of what is to be read now of some executions."""
    return f"{_STREAMS} ({' OR '.join(_clause(output.execution, output.ask()) for output in outputs)})"


def _clause(execution: str, since: int) -> str:
    seconds, nanos = divmod(since, 10**9)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
    return f'(labels."{EXECUTION}"="{execution}" timestamp>="{at}")'


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

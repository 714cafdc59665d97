"""Jobs' output, from Cloud Logging, as `reading` brings it: followed, and the last lines of what has failed.

A log is complete when a reading that began a while after its job's end has brought nothing more.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import Final

from runmesh.clock import clock
from runmesh.errors import Unavailable
from runmesh.executor import ENDED, Handle, LogLine, Position
from runmesh.executors.google import naming
from runmesh.executors.google.known import Entry, Known
from runmesh.executors.google.looking import Looking
from runmesh.executors.google.naming import Place
from runmesh.executors.google.options import Options
from runmesh.executors.google.output import Line, Output
from runmesh.executors.google.reading import Reader
from runmesh.executors.google.verdict import observed

_SINCE: Final = 8 * 86400
"""Seconds that a job can be old."""
_TAIL_WITHIN: Final = 30.0
"""Seconds after its end for which a failure waits for its last lines."""


class Logs:
    """The logs of one worker's jobs."""

    def __init__(self, reader: Reader, looking: Looking, known: Known, options: Options) -> None:
        self._reader, self._looking, self._known, self._options = reader, looking, known, options
        self._looked_at = -inf

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
        output = entry.output or self._open(handle, entry)
        late = entry.ended_at is not None and clock() - entry.ended_at > _TAIL_WITHIN
        return tuple(output.tail) if output.complete or output.error or late else None

    def ended(self) -> None:
        """A job has ended: its last lines are waited for."""
        self._reader.hurry()

    def forget(self, handle: Handle) -> None:
        """Read no more of a job than those want who follow it."""
        output = self._known.entry(handle).output
        if output is not None and not output.followed:
            self._reader.leave(output)
        self._known.forget(handle)

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
                await self._reader.news(self._options.poll)
                if entry.ended_at is None and clock() - entry.seen_at > 2 * self._options.poll:
                    await self._look()

    @contextmanager
    def _followed(self, handle: Handle, entry: Entry) -> Iterator[Output]:
        output = self._open(handle, entry)
        output.followed = True
        try:
            yield output
        finally:
            output.followed = False
            if not output.complete:
                self._reader.leave(output)
                entry.output = None

    def _open(self, handle: Handle, entry: Entry) -> Output:
        if entry.output is not None and not entry.output.followed:
            self._reader.leave(entry.output)
        since = time.time_ns() - _SINCE * 10**9
        entry.output = Output(naming.execution_id(handle), since, self._options.log_settle)
        self._reader.want(entry.output, Place.of(handle), entry)
        return entry.output

    async def _look(self) -> None:
        """See which jobs have ended for which nobody has looked for a while: all together, and not too often."""
        if clock() - self._looked_at < self._options.poll:
            return
        self._looked_at, unseen = clock(), self._known.unseen(2 * self._options.poll)
        with suppress(Unavailable):
            for handle, found in (await self._looking.look(unseen)).items():
                entry = unseen[handle]
                if entry.see(ended=observed(found, "").phase in ENDED) if found else entry.miss():
                    self.ended()

"""A job's output: two files that the job appends to, so that it never waits for a reader.

They are followed by reading on from where the last read ended, every 50 ms while the job runs and to the end once
it has ended. A line longer than 64 KB comes in parts. Bytes that are no UTF-8 become U+FFFD. The disk holds all
the output until the task is removed: nothing is ever cut from it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from runmesh.executor import LogLine, Position

LONGEST_LINE: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
_PAUSE: Final = 0.05
_TAIL_LINES: Final = 20
_TAIL_COLUMNS: Final = 2000
_TAIL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """Where the output of one job is."""

    stdout: Path
    stderr: Path

    def tail(self) -> tuple[str, ...]:
        """Return the last 20 lines: those of stderr, below what fits of stdout. What can't be read is left out."""
        stderr = _last_lines(self.stderr, _TAIL_LINES)
        return _last_lines(self.stdout, _TAIL_LINES - len(stderr)) + stderr

    def remove(self) -> None:
        """Delete the files. What can't be deleted now goes with their directory."""
        for path in (self.stdout, self.stderr):
            with suppress(OSError):
                path.unlink()

    async def follow(self, since: Position, ended: asyncio.Future[None]) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the job has ended and all is read."""
        with self.stdout.open("rb", 0) as stdout, self.stderr.open("rb", 0) as stderr:
            streams = Stream("stdout", stdout, *since.stdout), Stream("stderr", stderr, *since.stderr)
            while True:
                last = ended.done()
                for stream in streams:
                    while pieces := stream.read(last=last):
                        for line in _numbered(pieces, stream, streams):
                            yield line
                        await asyncio.sleep(0)
                if last:
                    return
                await asyncio.wait([ended], timeout=_PAUSE)


class Stream:
    """One stream of a job: a file, and how far it was read in bytes and in lines."""

    def __init__(self, name: Literal["stdout", "stderr"], file: BinaryIO, offset: int, number: int) -> None:
        self.name, self.offset, self.number = name, offset, number
        self._file = file
        self._unread = b""
        file.seek(offset)

    def read(self, *, last: bool) -> list[bytes]:
        """Return the next lines with their ends; nothing if there are none yet. `last`: no more will be written."""
        chunk = self._file.read(_CHUNK)
        *lines, rest = (self._unread + chunk).split(b"\n")
        pieces = [piece for line in lines for piece in _parts(line, b"\n")]
        *parts, self._unread = _parts(rest)
        if last and len(chunk) < _CHUNK and self._unread:
            parts.append(self._unread)
            self._unread = b""
        return pieces + parts


def _parts(line: bytes, end: bytes = b"") -> list[bytes]:
    """Cut an overlong line, never inside a character."""
    parts = []
    while len(line) > LONGEST_LINE:
        cut = next((at for at in range(LONGEST_LINE, LONGEST_LINE - 4, -1) if line[at] & 0xC0 != 0x80), LONGEST_LINE)  # noqa: PLR2004 - a continuation byte of UTF-8
        parts.append(line[:cut])
        line = line[cut:]
    return [*parts, line + end]


def _numbered(pieces: list[bytes], stream: Stream, streams: tuple[Stream, Stream]) -> Iterator[LogLine]:
    stdout, stderr = streams
    for piece in pieces:
        stream.offset += len(piece)
        stream.number += 1
        text = piece.removesuffix(b"\n").decode(errors="replace")
        position = Position((stdout.offset, stdout.number), (stderr.offset, stderr.number))
        yield LogLine(stream.name, stream.number, text, position)


def _last_lines(path: Path, count: int) -> tuple[str, ...]:
    if count <= 0:
        return ()
    try:
        with path.open("rb") as file:
            file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ()
    whole = lines if lines[-1] else lines[:-1]
    return tuple(line[:_TAIL_COLUMNS] for line in whole[-count:])

"""A job's output: two files that the job appends to, so that it never waits for a reader.

They are followed by reading on from where the last read ended, every 50 ms while the job runs and to the end once
it has ended. A line longer than 64 KB comes in parts. Bytes that are no UTF-8 become U+FFFD.

However much a job writes, little of it is on the disk: what was read is given back to the file system (a hole in the
file, which Linux can make), and of what is written faster than it is read only the end is read, with a line before it
that says how much is missing.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from runmesh.executor import LogLine, Position
from runmesh.executors.local.files import punch
from runmesh.platforms.lines import tail

LONGEST_LINE: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
MOST_UNREAD: Final = 8 * 2**20
"""Bytes by which the reader may be behind before it leaves some out."""
_GIVEN_BACK: Final = 2**20
"""Bytes that were read, and are given back together."""
_PAUSE: Final = 0.05
_TAIL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """Where the output of one job is."""

    stdout: Path
    stderr: Path

    def tail(self) -> tuple[str, ...]:
        """Return the last 20 lines: those of stderr, below what fits of stdout. What can't be read is left out."""
        return tail(_last_lines(self.stdout) + _last_lines(self.stderr))

    def remove(self) -> None:
        """Delete the files. What can't be deleted now goes with their directory."""
        for path in (self.stdout, self.stderr):
            with suppress(OSError):
                path.unlink()

    async def follow(self, since: Position, ended: asyncio.Future[None]) -> AsyncIterator[LogLine]:
        """Yield the lines behind a position until the job has ended and all is read."""
        # Writable, since only then parts can be given back.
        with self.stdout.open("rb+", 0) as stdout, self.stderr.open("rb+", 0) as stderr:
            streams = Stream("stdout", stdout, *since.stdout), Stream("stderr", stderr, *since.stderr)
            while True:
                last, idle = ended.done(), True
                for stream in streams:
                    for text in stream.read(last=last):
                        idle = False
                        yield LogLine(stream.name, stream.number, text, Position(*(each.reached for each in streams)))
                if last and idle:
                    return
                await (asyncio.wait([ended], timeout=_PAUSE) if idle else asyncio.sleep(0))


class Stream:
    """One stream of a job: a file, and how far it was read in bytes and in lines."""

    def __init__(self, name: Literal["stdout", "stderr"], file: BinaryIO, offset: int, number: int) -> None:
        self.name, self.offset, self.number = name, offset, number
        self._file = file
        self._unread = b""
        self._given_back = 0
        file.seek(offset)

    @property
    def reached(self) -> tuple[int, int]:
        """How far it was read, in bytes and in lines."""
        return self.offset, self.number

    def read(self, *, last: bool) -> Iterator[str]:
        """Yield the next lines; nothing if there are none yet. `last`: no more will be written."""
        if left_out := self._skip():
            self.number += 1
            yield f"… {left_out:,} bytes left out: written faster than they are read"
        for piece in self._pieces(last=last):
            self.offset += len(piece)
            self.number += 1
            yield piece.removesuffix(b"\n").decode(errors="replace")
        self._give_back()

    def _pieces(self, *, last: bool) -> list[bytes]:
        chunk = self._file.read(_CHUNK)
        *lines, rest = (self._unread + chunk).split(b"\n")
        pieces = [piece for line in lines for piece in _parts(line, b"\n")]
        *parts, self._unread = _parts(rest)
        if last and len(chunk) < _CHUNK and self._unread:
            parts.append(self._unread)
            self._unread = b""
        return pieces + parts

    def _skip(self) -> int:
        """Go on near the end if too much is unread; return how many bytes are left out."""
        size = os.fstat(self._file.fileno()).st_size
        if size - self.offset <= MOST_UNREAD:
            return 0
        before, self.offset, self._unread = self.offset, size - _TAIL_BYTES, b""
        self._file.seek(self.offset)
        self.offset += self._file.read(_TAIL_BYTES).find(b"\n") + 1  # the next whole line, if there is one
        self._file.seek(self.offset)
        return self.offset - before

    def _give_back(self) -> None:
        """Free the disk of what was read, but for the tail that a failure quotes."""
        unneeded = self.offset - _TAIL_BYTES
        if unneeded - self._given_back >= _GIVEN_BACK:
            punch(self._file.fileno(), self._given_back, unneeded - self._given_back)
            self._given_back = unneeded


def _parts(line: bytes, end: bytes = b"") -> list[bytes]:
    """Cut an overlong line, never inside a character."""
    parts = []
    while len(line) > LONGEST_LINE:
        cut = next((at for at in range(LONGEST_LINE, LONGEST_LINE - 4, -1) if line[at] & 0xC0 != 0x80), LONGEST_LINE)  # noqa: PLR2004 - a continuation byte of UTF-8
        parts.append(line[:cut])
        line = line[cut:]
    return [*parts, line + end]


def _last_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    return lines if lines[-1] else lines[:-1]

"""How much of a job's output is stored: all of it, until it is too much.

A job may write so many bytes at once, and so many a second after that. What is over is left out, for a second at
least, so that what is stored has long pieces instead of single lines. Where something is left out there is a line that
says so, under the number of the last line that is missing, so that the numbers still count what the job wrote. The end
of a job's output is never left out: it tells why the job failed.
"""

from collections import deque
from dataclasses import replace
from typing import Final

from runmesh.clock import clock
from runmesh.executor import LogLine

FRAME: Final = 8
"""Bytes that a line costs beside its text."""
_TAIL: Final = 16 * 1024
"""Bytes of the last lines that are kept whatever came before."""


class Allowance:
    """A bucket of bytes that fills up at a steady rate; once empty, it is closed until a second's worth is in it."""

    def __init__(self, burst: int, rate: int) -> None:
        self.burst, self.rate = burst, rate
        self._left, self._at, self._open = float(burst), clock(), True

    def take(self, size: int) -> bool:
        """Take so many bytes, if the bucket is open."""
        if self._left < size or not self._open:
            now = clock()
            self._left = min(self.burst, self._left + self.rate * (now - self._at))
            self._at = now
            self._open = self._left >= max(size, 0 if self._open else min(self.rate, self.burst))
        if self._open:
            self._left -= size
        return self._open


class Gap:
    """What is left out of one stream at the moment, and its last lines, which are wanted if nothing follows."""

    def __init__(self) -> None:
        self._first: LogLine | None = None
        self._tail: deque[LogLine] = deque()
        self._held = 0

    def add(self, line: LogLine) -> None:
        """Leave a line out."""
        self._first = self._first or line
        self._tail.append(line)
        self._held += len(line.text) + FRAME
        while self._held > _TAIL and len(self._tail) > 1:
            self._held -= len(self._tail.popleft().text) + FRAME

    def close(self, *, at_end: bool = False) -> list[LogLine]:
        """Return what stands for the gap, if there is one: a line that says so; at the end also the last lines."""
        if (first := self._first) is None:
            return []
        tail = [*self._tail]
        self._first, self._held = None, 0
        self._tail.clear()
        if not at_end:
            last = tail[-1]
            return [_mark(last, _behind(last) - _before(first), last.number - first.number + 1)]
        if tail[0] is first:
            return tail
        missing = replace(tail[0], number=tail[0].number - 1)
        return [_mark(missing, _before(tail[0]) - _before(first), tail[0].number - first.number), *tail]


def _mark(last: LogLine, size: int, lines: int) -> LogLine:
    return replace(last, text=f"… {size:,} bytes left out, at least {lines:,} lines: more than is stored of a log")


def _behind(line: LogLine) -> int:
    offset: int = getattr(line.position, line.stream)[0]
    return offset


def _before(line: LogLine) -> int:
    return _behind(line) - len(line.text) - 1

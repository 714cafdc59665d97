"""From the stored pieces of a task's output to its lines, numbered, each with the position behind it (pure)."""

from collections.abc import Iterator
from typing import Final

from runmesh.executor import LogLine, Position

LONGEST_LINE: Final = 64 * 1024


class Lines:
    """Cuts pieces, each taken once and in order, into lines; one longer than 64 KB comes in parts."""

    def __init__(self, since: Position) -> None:
        self._at, self._number = since.stdout
        self._unread = b""

    @property
    def wants(self) -> int:
        """The first byte that was not taken yet."""
        return self._at + len(self._unread)

    def take(self, start: int, content: bytes) -> Iterator[LogLine]:
        """Take a piece that begins at `start` or holds more of what was taken; yield the lines that are whole."""
        *whole, self._unread = (self._unread + content[self.wants - start :]).split(b"\n")
        rest, self._unread = self._unread, b""
        for line in whole:
            *parts, last = _parts(line)
            yield from map(self._line, parts)
            yield self._line(last, newline=1)
        *parts, self._unread = _parts(rest)
        yield from map(self._line, parts)

    def rest(self) -> Iterator[LogLine]:
        """Yield the last line, which ends without a newline, once the task has ended."""
        rest, self._unread = self._unread, b""
        if rest:
            yield self._line(rest)

    def _line(self, content: bytes, newline: int = 0) -> LogLine:
        self._at, self._number = self._at + len(content) + newline, self._number + 1
        text = content.decode("utf-8", "replace").rstrip("\r")
        return LogLine("stdout", self._number, text, Position(stdout=(self._at, self._number)))


def _parts(line: bytes) -> list[bytes]:
    return [line[first : first + LONGEST_LINE] for first in range(0, len(line), LONGEST_LINE)] or [b""]

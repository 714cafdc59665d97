"""A pod's log, piece by piece, into lines; and which of them were read before (pure).

The API gives each line its time and a space before it. A log can be asked for from a second on, and is a file whose
lines stay in their order. So whoever knows how many lines were read of the last two seconds can go on exactly where the
connection broke, although the times of two streams may cross a little.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

LONGEST_LINE: Final = 64 * 1024
_SECOND: Final = len("2026-01-01T00:00:00")
_LONGEST_STAMP: Final = 64


class Piece(NamedTuple):
    """A line, or a part of an overlong one."""

    second: str
    """When the line was written, as the API writes it, to the second."""
    size: int
    """Its bytes."""
    text: str


@dataclass(slots=True)
class Splitter:
    """Cuts one answer into lines; a line longer than 64 KB comes in parts."""

    _unread: bytes = b""
    _second: str | None = None
    """Of the line of which parts were given already."""

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """Take the next bytes, and yield what is whole."""
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            yield from self._pieces(_parts(self._body(line)), b"\n")
            self._second = None
        if len(self._unread) > LONGEST_LINE + _LONGEST_STAMP:
            *parts, self._unread = _parts(self._body(self._unread))
            yield from self._pieces(parts)

    def rest(self) -> Iterator[Piece]:
        """Yield the last line, which ends without a newline, once nothing follows."""
        if self._unread:
            yield from self._pieces(_parts(self._body(self._unread)))
            self._unread = b""

    def _body(self, line: bytes) -> bytes:
        """Take the time off a line, unless it was taken with an earlier part."""
        if self._second is not None:
            return line
        stamp, _, body = line.partition(b" ")
        self._second = stamp[:_SECOND].decode(errors="replace")
        return body

    def _pieces(self, parts: Sequence[bytes], end: bytes = b"") -> Iterator[Piece]:
        for number, part in enumerate(parts, 1):
            size = len(part) + (len(end) if number == len(parts) else 0)
            yield Piece(self._second or "", size, part.decode(errors="replace"))


def _parts(line: bytes) -> list[bytes]:
    """Cut an overlong line, never inside a character."""
    parts = []
    while len(line) > LONGEST_LINE:
        cut = LONGEST_LINE
        while line[cut] & 0xC0 == 0x80 and cut > LONGEST_LINE - 4:  # noqa: PLR2004 - a continuation byte of UTF-8
            cut -= 1
        parts.append(line[:cut])
        line = line[cut:]
    return [*parts, line]


@dataclass(slots=True)
class Place:
    """How far a log was read, for the next connection."""

    _read: dict[str, int] = field(default_factory=dict)
    """Pieces read, by second: of the latest one, and of the one before, in which a crossing line may still come."""
    _skip: int = 0

    @property
    def since(self) -> str | None:
        """What to ask for: from which second on."""
        return f"{_before(max(self._read))}Z" if self._read else None

    def reopen(self) -> None:
        """Expect what was read of those seconds again."""
        self._skip = sum(self._read.values())

    def is_new(self, piece: Piece) -> bool:
        """Whether a piece was not read before; note that it is now."""
        latest = max(self._read, default="")
        if self._skip and piece.second <= latest:
            self._skip -= 1
            return False
        self._skip = 0  # what was read has been rotated away
        first = _before(max(latest, piece.second))
        if piece.second > latest:
            self._read = {second: count for second, count in self._read.items() if second >= first}
        if piece.second >= first:
            self._read[piece.second] = self._read.get(piece.second, 0) + 1
        return True


@lru_cache(maxsize=64)
def _before(second: str) -> str:
    """Return the second before; what is no time is its own."""
    try:
        return (datetime.fromisoformat(second) - timedelta(seconds=1)).isoformat()
    except ValueError:
        return second

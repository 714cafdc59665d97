"""What pods have printed: a line with its time each, read from a time on, by its end, or as it comes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from time import time_ns
from typing import Final, NamedTuple

from tests.emulators.kubernetes.selectors import flag

_SECOND: Final = 10**9


class Printed(NamedTuple):
    """One line, or the last piece that ends with none."""

    at: int
    text: bytes


class Output:
    """What one container has printed so far."""

    def __init__(self) -> None:
        self.lines: list[Printed] = []
        self.ended = False
        self._news = asyncio.Event()

    def add(self, text: bytes) -> None:
        """Take a line as the container wrote it."""
        self.lines.append(Printed(time_ns(), text))
        self._tell()

    def end(self) -> None:
        """Nothing will follow."""
        self.ended = True
        self._tell()

    async def read(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield what a caller asked for; a caller that follows, until the end."""
        since, stamped = _since(query.get("sinceTime")), flag(query, "timestamps")
        wanted = [line for line in self.lines if line.at >= since]
        read = len(self.lines)
        tail = query.get("tailLines")
        for line in wanted if tail is None else wanted[max(0, len(wanted) - int(tail)) :]:
            yield _said(line, stamped=stamped)
        while flag(query, "follow"):
            while read < len(self.lines):
                yield _said(self.lines[read], stamped=stamped)
                read += 1
            if self.ended:
                return
            await self._news.wait()

    def last(self, count: int, size: int) -> str:
        """Return the last lines, at most so many characters."""
        return b"".join(line.text for line in self.lines[-count:])[-size:].decode(errors="replace")

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _since(asked: str | None) -> int:
    """Return nanoseconds: callers may give fractions of a second, which the API server cuts off."""
    if asked is None:
        return 0
    return int(datetime.fromisoformat(asked).timestamp()) * _SECOND


def _said(line: Printed, *, stamped: bool) -> bytes:
    if not stamped:
        return line.text
    second = datetime.fromtimestamp(line.at // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    # As Go writes it: no zeros at the end of the fraction.
    fraction = f"{line.at % _SECOND:09}".rstrip("0")
    return f"{second}{'.' + fraction if fraction else ''}Z ".encode() + line.text

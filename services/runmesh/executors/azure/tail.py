"""Where to go on in a log of which only the end can be read, again and again (pure).

Azure has no way to follow a log: each read brings the last lines, with the time of each. What was read last is known by
its time, and by how many lines have that very time: what stands behind them is new. A read that doesn't reach back that
far leaves a gap, and must be longer.
"""

import re
from dataclasses import dataclass
from typing import Final

FEWEST: Final = 200
"""Lines of a read that is not of all."""
MOST: Final = 20_000
"""From here on, all is read instead."""
_AMPLE: Final = 4
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d) ?")

Line = tuple[str, str]


@dataclass(slots=True)
class Tail:
    """How far a log was read."""

    lines: int | None = None
    """How many lines to ask for next; None: all there are."""
    last: str = ""
    """The time of the last line that was read."""
    count: int = 0
    """How many lines of that time were read."""

    def new(self, content: str) -> list[str] | None:
        """Return the new lines of an answer; None: there is a gap, so ask again for `lines`, which are more."""
        found = _stamped(content)
        is_all = self.lines is None or len(found) < self.lines
        if (first := self._behind(found, is_all=is_all)) is None:
            self.lines = _bounded((self.lines or 0) * _AMPLE)
            return None
        fresh = found[first:]
        self._note(fresh)
        self.lines = _bounded(max(FEWEST, _AMPLE * len(fresh)))
        return [text for _, text in fresh]

    def _behind(self, found: list[Line], *, is_all: bool) -> int | None:
        """Return where the new lines begin; None: the last one that was read is not (surely) among these."""
        stamps = [stamp for stamp, _ in found]
        at = stamps.index(self.last) if self.last in stamps else None
        if is_all:
            # What was read last may be dropped by now: Azure keeps some megabytes.
            later = next((number for number, stamp in enumerate(stamps) if stamp > self.last), len(found))
            return later if at is None else at + self.count
        return at + self.count if at else None

    def _note(self, fresh: list[Line]) -> None:
        if fresh:
            before, self.last = self.last, fresh[-1][0]
            own = sum(stamp == self.last for stamp, _ in fresh)
            self.count = own + (self.count if before == self.last else 0)


def _stamped(content: str) -> list[Line]:
    """Return the lines, each with its time: that of the line before, if it has none, or one that is earlier."""
    found: list[Line] = []
    for line in content.removesuffix("\n").split("\n") if content else ():
        stamp = _STAMP.match(line)
        before = found[-1][0] if found else ""
        found.append((max(before, _time(stamp)), line[stamp.end() :]) if stamp else (before, line))
    return found


def _time(stamp: re.Match[str]) -> str:
    """Return a time as times are compared: each with as many digits."""
    return f"{stamp[1]}.{stamp[2] or '':0<9}"


def _bounded(lines: int) -> int | None:
    return lines if 0 < lines <= MOST else None

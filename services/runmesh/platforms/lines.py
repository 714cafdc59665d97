"""Lines of jobs' output: none that is handed on is overlong, and the last few tell why a job has failed."""

from collections import deque
from collections.abc import Iterable
from typing import Final

TAIL: Final = 20
"""Lines that a failure shows."""
TAIL_COLUMNS: Final = 2000
_LONGEST: Final = 32 * 1024


def tail(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the last lines, cut where they are long."""
    return tuple(line[:TAIL_COLUMNS] for line in deque(lines, maxlen=TAIL))


def pieces(lines: Iterable[str]) -> list[str]:
    """Return lines, overlong ones in several."""
    return [line[at : at + _LONGEST] for line in lines for at in range(0, max(1, len(line)), _LONGEST)]

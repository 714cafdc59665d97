"""One job's lines, put into their order (pure).

Cloud Logging stores lines in the order of their timestamps, but they may come to it late. So what is read is held back
for a while, `settle` seconds, and read again that far back: a line that comes late still has its place. Which lines
were read already is known by their ids, so none comes twice.
"""

from collections import deque
from heapq import heappop, heappush
from typing import Final, Literal, NamedTuple

from runmesh.platforms.lines import TAIL, TAIL_COLUMNS

FLOOD: Final = 200
"""Lines of one reading from which on a log is read onwards, not again, where there are more: else it might not end."""
_FRAME: Final = 100
"""Bytes that a line takes beside its text, roughly."""


class Line(NamedTuple):
    """A line as Cloud Logging has it."""

    at: int
    """Its timestamp in nanoseconds."""
    id: str
    stream: Literal["stdout", "stderr"]
    text: str


class Output:
    """The lines of one execution, as far as they were read."""

    def __init__(self, execution: str, since: int, settle: float) -> None:
        self.execution = execution
        self.complete = False
        """Nothing more will come."""
        self.error: Exception | None = None
        """Why nothing can be read."""
        self.followed = False
        """Somebody takes the lines; else only the last ones are kept."""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._since, self._settle = since, settle
        self._latest = self._asked = since
        self._ids: dict[str, int] = {}
        self._held: list[tuple[Line, float]] = []
        self._ready: deque[Line] = deque()
        self._waiting = self._read = 0
        self._news_at = 0.0
        self._more = False

    @property
    def cursor(self) -> int:
        """The timestamp from which on it is to be read next."""
        return self._latest if self._more else self._overtaken

    @property
    def _overtaken(self) -> int:
        """The timestamp behind which a line may still come."""
        return max(self._since, self._latest - int(self._settle * 1e9))

    @property
    def waiting(self) -> int:
        """How many characters nobody has taken yet, with a few for each line."""
        return self._waiting

    def ask(self) -> int:
        """Return the timestamp from which on it is read now."""
        self._asked, self._read = self.cursor, 0
        return self._asked

    def add(self, line: Line, now: float) -> bool:
        """Add a line that was read; return whether it is new."""
        self._read += line.at >= self._asked
        if line.id in self._ids or line.at < self._asked:
            return False
        self._ids[line.id] = line.at
        self._latest = max(self._latest, line.at)
        self._news_at = now
        heappush(self._held, (line, now))
        return True

    def turn(self, began: float, now: float, ended_at: float | None, *, more: bool = False) -> None:
        """A reading that began then has brought all there was, or there is more; the job has ended or not."""
        self._more = more and self._read >= FLOOD
        while self._held and self._held[0][1] + self._settle <= now:
            line, _ = heappop(self._held)
            if self.followed:
                self._ready.append(line)
                self._waiting += len(line.text) + _FRAME
            self.tail.append(line.text[:TAIL_COLUMNS])
        oldest = self._overtaken
        self._ids = {name: at for name, at in self._ids.items() if at >= oldest}
        if ended_at is not None and not self._held and not more:
            self.complete = began >= max(ended_at, self._news_at) + self._settle

    def take(self) -> list[Line]:
        """Return the lines that are ready, once."""
        lines = list(self._ready)
        self._ready.clear()
        self._waiting = 0
        return lines

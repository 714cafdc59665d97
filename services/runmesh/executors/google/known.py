"""What one worker knows of its jobs, for as long as anybody may ask."""

from typing import Final

from runmesh.clock import clock
from runmesh.executor import Handle, Observation
from runmesh.executors.google.output import Output

GONE_WINDOW: Final = 30.0
"""Seconds for which Cloud Run must know nothing of a job before it counts as gone."""


class Entry:
    """One job."""

    def __init__(self) -> None:
        self.seen_at = clock()
        self._missed_since: float | None = None
        self.ended_at: float | None = None
        """When it was seen that nothing more will come of it."""
        self.failure: Observation | None = None
        """Why it failed, which is asked for once."""
        self.output: Output | None = None
        """Its lines, as they are read; its last ones once it has ended."""

    def see(self, *, ended: bool) -> bool:
        """Note that Cloud Run said something of it; return whether it has ended now."""
        self.seen_at, self._missed_since = clock(), None
        return ended and self._end()

    def miss(self) -> bool:
        """Note that Cloud Run knows no such job; return whether it counts as gone now."""
        self.seen_at = clock()
        if self._missed_since is None:
            self._missed_since = self.seen_at
        return self.seen_at - self._missed_since >= GONE_WINDOW and self._end()

    def _end(self) -> bool:
        news = self.ended_at is None
        self.ended_at = self.ended_at or self.seen_at
        return news


class Known:
    """All jobs that were started, adopted, or asked for, until they are removed or gone."""

    def __init__(self) -> None:
        self._entries: dict[Handle, Entry] = {}

    def entry(self, handle: Handle) -> Entry:
        """Return what is known of a job, from now on."""
        return self._entries.setdefault(handle, Entry())

    def unseen(self, seconds: float) -> dict[Handle, Entry]:
        """Return the jobs that may go on, and of which nothing was heard for so long."""
        before = clock() - seconds
        return {
            handle: entry
            for handle, entry in self._entries.items()
            if entry.ended_at is None and entry.seen_at < before
        }

    def failure(self, handle: Handle) -> Observation | None:
        """Return why a job failed, if it is known."""
        entry = self._entries.get(handle)
        return entry.failure if entry else None

    def forget(self, handle: Handle) -> None:
        """Forget a job; whoever reads its lines still reads them to their end."""
        if (entry := self._entries.pop(handle, None)) is not None:
            entry.see(ended=True)

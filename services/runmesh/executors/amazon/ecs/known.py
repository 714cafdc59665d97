"""What one worker knows of its tasks: what ECS said of each last, for as long as anybody may ask."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from runmesh.clock import clock
from runmesh.executor import ENDED, Handle, Observation
from runmesh.executors.amazon.ecs.interval import Interval
from runmesh.executors.amazon.ecs.reference import references
from runmesh.executors.amazon.ecs.verdict import container_name

MISSING_FOR: Final = 240.0
"""Seconds after which a task counts as forgotten of which ECS knows nothing: just after RunTask that passes."""
_SHOWN_WITHIN: Final = 5.0
"""Seconds after a container's end in which CloudWatch shows its last lines."""

Json = Mapping[str, Any]


class Entry:
    """One task."""

    def __init__(self, found: Json) -> None:
        self.definition: str = found["taskDefinitionArn"]
        self.container = container_name(found)
        self.references = references(found)
        self.status = ""
        self.stale_at = 0.0
        """When somebody should have looked again (by `clock`), as the interval was then."""
        self.missing_since: float | None = None
        self.end: Observation | None = None
        self.tail_tries = 0
        """How often its last lines could not be had."""
        self.ended = asyncio.Event()
        """Nothing more will come of it."""
        self.all_shown_at = 0.0
        """When its last lines can be read, if it has ended (by `clock`)."""

    @property
    def stopped(self) -> bool:
        """Whether ECS says so."""
        return self.status == "STOPPED"

    def see(self, found: Json) -> bool:
        """Note what ECS says; return whether that is news."""
        before, self.status = self.status, found.get("lastStatus", "")
        self.missing_since = None
        if self.stopped and not self.ended.is_set():
            self.all_shown_at = clock() + _SHOWN_WITHIN - _unwound(found)
            self.ended.set()
        return self.status != before

    def miss(self) -> None:
        """Note that ECS knows no such task, or not yet."""
        self.missing_since = clock() if self.missing_since is None else self.missing_since
        if clock() - self.missing_since >= MISSING_FOR:
            self.ended.set()

    def judge(self, seen: Observation) -> Observation:
        """Keep an end, which doesn't change any more."""
        if seen.phase in ENDED:
            self.end = seen
        return seen


class Known:
    """All tasks that were started, adopted, or asked for, until they are removed."""

    def __init__(self, interval: Interval) -> None:
        self._entries: dict[Handle, Entry] = {}
        self._interval = interval

    def __len__(self) -> int:
        return len(self._entries)

    def see(self, handle: Handle, found: Json) -> bool:
        """Note what ECS says of a task; return whether that is news."""
        if handle not in self._entries:
            self._entries[handle] = Entry(found)
        self._entries[handle].stale_at = self._stale_at()
        return self._entries[handle].see(found)

    def miss(self, handle: Handle) -> None:
        """Note that ECS knows no such task, or not yet."""
        if entry := self._entries.get(handle):
            entry.stale_at = self._stale_at()
            entry.miss()

    def get(self, handle: Handle) -> Entry | None:
        """Return what is known of a task."""
        return self._entries.get(handle)

    def forget(self, handle: Handle) -> None:
        """Forget a task, and tell those who wait for its end."""
        if (entry := self._entries.pop(handle, None)) is not None:
            entry.ended.set()

    def _stale_at(self) -> float:
        return clock() + 2 * self._interval.seconds


def _unwound(found: Json) -> float:
    """Return the seconds from the container's end to the task's; all there may be if it never ran."""
    ran, stopped = found.get("executionStoppedAt"), found.get("stoppedAt")
    return (stopped - ran).total_seconds() if ran and stopped else _SHOWN_WITHIN

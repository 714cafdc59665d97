"""What one worker knows of its tasks: what ECS said of each last, for as long as anybody may ask."""

import asyncio
from collections.abc import Mapping
from typing import Any

from runmesh.clock import clock
from runmesh.executor import ENDED, Handle, Observation
from runmesh.executors.amazon.ecs.verdict import container_name

Json = Mapping[str, Any]


class Entry:
    """One task."""

    def __init__(self, found: Json) -> None:
        self.definition: str = found["taskDefinitionArn"]
        self.container = container_name(found)
        self.status = ""
        self.seen_at = 0.0
        self.end: Observation | None = None
        self.tail_tries = 0
        """How often its last lines could not be had."""
        self.ended = asyncio.Event()
        """Nothing more will come of it."""

    def see(self, found: Json) -> bool:
        """Note what ECS says; return whether that is news."""
        before, self.status = self.status, found.get("lastStatus", "")
        self.seen_at = clock()
        if self.status == "STOPPED":
            self.ended.set()
        return self.status != before

    def judge(self, seen: Observation) -> Observation:
        """Keep an end, which doesn't change any more."""
        if seen.phase in ENDED:
            self.end = seen
        return seen


class Known:
    """All tasks that were started, adopted, or asked for, until they are removed or gone."""

    def __init__(self) -> None:
        self._entries: dict[Handle, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def see(self, handle: Handle, found: Json) -> bool:
        """Note what ECS says of a task; return whether that is news."""
        if handle not in self._entries:
            self._entries[handle] = Entry(found)
        return self._entries[handle].see(found)

    def get(self, handle: Handle) -> Entry | None:
        """Return what is known of a task."""
        return self._entries.get(handle)

    def forget(self, handle: Handle) -> None:
        """Forget a task, and tell those who wait for its end."""
        if (entry := self._entries.pop(handle, None)) is not None:
            entry.ended.set()

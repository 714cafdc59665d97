"""What one worker knows of its groups: what Azure said of each last, and when it is worth asking again."""

import asyncio
from collections.abc import Collection, Iterator
from typing import Final

from runmesh.clock import clock
from runmesh.executor import ENDED, GONE, UNKNOWN, Handle, Observation, Phase
from runmesh.executors.azure.verdict import observed, provisioning

_SHARE: Final = 0.1
"""Of its age, until a group that runs is looked at again: seconds matter to a job of seconds, not to one of hours."""
_LONGEST: Final = 30.0
"""Seconds between two looks at a group."""
_PENDING: Final = 15.0
"""Likewise where a listing says that it isn't there yet: only for what holds it up."""


class Entry:
    """One group."""

    def __init__(self) -> None:
        self.since = self.due = clock()
        """When it was seen first, and when to look at it again."""
        self.asked = self.since
        """When the worker asked for it last."""
        self.seen: Observation = UNKNOWN
        self.provisioning = ""
        self.deleting = False
        """Whether we asked for its deletion: then nothing counts but that it is gone."""
        self.tail_tries = 0
        """How often its last lines could not be had."""
        self.ended = asyncio.Event()
        """Nothing more will come of it."""

    def listed(self, state: str | None) -> None:
        """Note what a listing says (None: it isn't there any more): only the group itself tells the rest."""
        if state != self.provisioning:
            self.due = min(self.due, clock())
        self.provisioning = state or ""

    def told(self, group: dict[str, object] | None, url: str, log_tail: tuple[str, ...] = ()) -> Observation:
        """Note what Azure says of the group itself; None: it knows no such group."""
        if group is None:
            self.seen, self.due = GONE, clock()
            self.ended.set()
            return GONE
        self.provisioning = provisioning(group)
        self.seen = (
            Observation(Phase.RUNNING, url=url) if self.deleting else observed(group, url=url, log_tail=log_tail)
        )
        if self.is_over:
            self.ended.set()
        pause = _PENDING if self.seen.phase is Phase.PENDING else min(_LONGEST, _SHARE * (clock() - self.since))
        self.due = clock() + pause
        return self.seen

    def soon(self) -> None:
        """Look at it at the next opportunity."""
        self.due = clock()

    def deleted(self) -> None:
        """Note that its deletion was asked for: look at it often from now on."""
        self.deleting = True
        self.since = self.due = clock()

    @property
    def is_over(self) -> bool:
        """Whether its end is known, which doesn't change any more."""
        return self.seen.phase in ENDED


class Known:
    """All groups that were started, adopted or asked for, until they are removed."""

    def __init__(self) -> None:
        self._entries: dict[Handle, Entry] = {}

    def get(self, handle: Handle) -> Entry | None:
        """Return what is known of a group."""
        return self._entries.get(handle)

    def add(self, handle: Handle) -> Entry:
        """Know a group from now on."""
        return self._entries.setdefault(handle, Entry())

    def asked(self, handles: Collection[Handle]) -> bool:
        """Note that the worker asks for groups; return whether there is anything to find out."""
        entries = [self.add(handle) for handle in handles]
        for entry in entries:
            entry.asked = clock()
        return not all(entry.is_over for entry in entries)

    def forget(self, handle: Handle) -> None:
        """Forget a group, and tell those who wait for its end."""
        if (entry := self._entries.pop(handle, None)) is not None:
            entry.ended.set()

    def due(self, handles: Collection[Handle]) -> Iterator[Handle]:
        """Yield those of some that are worth asking for, the longest overdue first."""
        now = clock()
        found = [(handle, entry) for handle in handles if (entry := self.get(handle)) and not entry.is_over]
        waiting = [(entry.due, handle) for handle, entry in found if entry.due <= now]
        yield from (handle for _, handle in sorted(waiting))

"""What one worker knows of its groups: what Azure said of each last, and when it is worth asking again."""

import asyncio
from collections.abc import Collection, Iterator
from math import inf
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
_AGAIN: Final = 1.0
"""Likewise at least where the last look brought nothing, and where Azure said that there is no such group."""
_UNSEEN: Final = 60.0
"""For so long after its creation, the front ends of Azure may not all know a group."""
GONE_WINDOW: Final = 5.0
"""For which Azure must say that it doesn't know a group: the answer of one of its front ends may be old."""


class Entry:
    """One group."""

    def __init__(self) -> None:
        self.since = self.looked = self.asked = clock()
        """When it was known first, looked at last, and asked for last by the worker."""
        self._pause = 0.0
        """Seconds until it is worth another look."""
        self._unseen_until = 0.0
        self._gone_since: float | None = None
        self.seen: Observation = UNKNOWN
        self._listed = self._provisioning = ""
        self.deleting = False
        """Whether we asked for its deletion: then nothing counts but that it is gone."""
        self.tail_tries = 0
        """How often its last lines could not be had."""
        self.ended = asyncio.Event()
        """Nothing more will come of it."""

    def listed(self, state: str | None) -> None:
        """Note what a listing says (None: it isn't there any more): only the group itself tells the rest."""
        before, self._listed = self._listed, state or ""
        if self._listed not in (before, self._provisioning):
            self.soon()

    def told(self, group: dict[str, object] | None, url: str, log_tail: tuple[str, ...] = ()) -> Observation:
        """Note what Azure says of the group itself; None: it knows no such group."""
        if group is None:
            return self._missing()
        self._unseen_until, self._gone_since = 0.0, None
        self._provisioning = provisioning(group)
        self.seen = (
            Observation(Phase.RUNNING, url=url) if self.deleting else observed(group, url=url, log_tail=log_tail)
        )
        if self.is_over:
            self.ended.set()
        self._pause = _PENDING if self.seen.phase is Phase.PENDING else self._usual()
        return self.seen

    def created(self) -> None:
        """Note that it was created just now."""
        self._unseen_until = clock() + _UNSEEN

    def look(self) -> None:
        """Note that it is looked at; until that brings something, others have their turn."""
        self.looked, self._pause = clock(), max(_AGAIN, self._usual())

    def soon(self) -> None:
        """Look at it at the next opportunity."""
        self._pause = 0.0

    def deleted(self) -> None:
        """Note that its deletion was asked for: look at it often from now on."""
        self.deleting, self._unseen_until, self.since = True, 0.0, clock()
        self.soon()

    def urgency(self) -> float:
        """Return how much it is worth another look: from 1 on, it is.

        Where there are more groups than looks, what is short is not to wait for what is long.
        """
        return (clock() - self.looked) / self._pause if self._pause else inf

    @property
    def is_over(self) -> bool:
        """Whether its end is known, which doesn't change any more."""
        return self.seen.phase in ENDED

    def _usual(self) -> float:
        return min(_LONGEST, _SHARE * (clock() - self.since))

    def _missing(self) -> Observation:
        now = clock()
        if now < self._unseen_until:
            return self.seen
        self._gone_since = now if self._gone_since is None else self._gone_since
        self.seen, self._pause = GONE, _AGAIN
        if now - self._gone_since >= GONE_WINDOW:
            self.ended.set()
        return GONE


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
        """Yield those of some that are worth asking for, the most urgent first."""
        found = [(handle, entry) for handle in handles if (entry := self.get(handle)) and not entry.is_over]
        waiting = [(urgency, handle) for handle, entry in found if (urgency := entry.urgency()) >= 1]
        yield from (handle for _, handle in sorted(waiting, reverse=True))

"""One task in this worker's hands: its message, its claim, what was seen of it, what is wanted of it.

Each task has one coroutine that sleeps on `news`; the observer, the cancel records and the drain wake it.
Nothing here wakes by itself, so 20,000 held jobs cost memory only.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runmesh.bus import Message
from runmesh.claims import Claim, Stopping
from runmesh.clock import clock
from runmesh.errors import Invalid, RunmeshError
from runmesh.events import ExecuteTask
from runmesh.executor import ENDED, UNKNOWN, Handle, Observation, Phase, Task
from runmesh.worker.claims import Hold


class HandOver(RunmeshError):
    """The worker drains: the next one goes on with the task."""


def utc() -> datetime:
    """Return the time as it is written into claims and facts."""
    return datetime.now(UTC)


def begun(at: datetime | None) -> float:
    """Return when something written as `at` happened, by `clock`: what we wait for moves with no clock setting."""
    return clock() - (max(0.0, (utc() - at).total_seconds()) if at else 0.0)


@dataclass(slots=True, eq=False)
class Job:
    """A task, from its delivery to its acknowledgement."""

    message: Message
    event: ExecuteTask
    task: Task[Any] | Invalid
    """The executor's view of it, or why its configuration is none."""
    leave_by: float | None = None
    """When the draining worker lets go of it (by `clock`)."""
    hold: Hold | None = None
    inherited: bool = False
    """It was another worker's before."""
    stop: Stopping | None = None
    seen: Observation = UNKNOWN
    gone: bool = False
    """It was seen GONE, again and again, over the executor's window."""
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    """When it was seen to have ended (by `clock`)."""
    follower: asyncio.Task[None] | None = None
    size: int = field(init=False)
    """Bytes of its command."""
    _gone_since: float | None = None
    _freed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.size = len(self.message.data)

    @property
    def claim(self) -> Claim:
        """The claim, which every job past its intake has."""
        return self.held.claim

    @property
    def held(self) -> Hold:
        """The claim with its revision."""
        if self.hold is None:
            raise RuntimeError(f"{self.event.key} is not claimed yet")
        return self.hold

    @property
    def handle(self) -> Handle:
        """The job's address, which every job past its submission has."""
        if self.claim.handle is None:
            raise RuntimeError(f"{self.event.key} has no handle yet")
        return self.claim.handle

    @property
    def over(self) -> bool:
        """Whether nothing runs any more, as far as the platform says."""
        return self.gone or self.seen.phase in ENDED

    @property
    def leaving(self) -> bool:
        """Whether the draining worker lets go of it now."""
        return self.leave_by is not None and clock() >= self.leave_by

    def redelivered(self, message: Message) -> None:
        """Beat, and in the end acknowledge, this delivery from now on."""
        self.message.release()
        self.message = message
        if self._freed:
            message.release()

    def free_slot(self) -> None:
        """Let the worker pull another message while it keeps this one."""
        self._freed = True
        self.message.release()

    def see(self, seen: Observation, gone_window: float) -> None:
        """Take an observation; UNKNOWN keeps what was known, and an end is final."""
        if seen.phase is Phase.UNKNOWN or self.seen.phase in ENDED:
            return
        if seen.phase is Phase.GONE:
            self._gone_since = clock() if self._gone_since is None else self._gone_since
            self.gone = clock() - self._gone_since >= gone_window
            if self.gone:
                self._news.set()
            return
        self.forget_gone()
        if seen != self.seen:
            self.seen = seen
            self.ended = clock() if seen.phase in ENDED else None
            self._news.set()

    def forget_gone(self) -> None:
        """Count GONE anew: the platform knows the job after all."""
        self._gone_since, self.gone = None, False

    def ask_stop(self, stopping: Stopping) -> None:
        """Ask for the job's end. The first one who asks is the cause."""
        if self.stop is None:
            self.stop = stopping
            self._news.set()

    def leave(self, by: float) -> None:
        """Let go of the job at `by` (of `clock`): the worker drains."""
        self.leave_by = by
        self._news.set()

    async def news(self, within: float | None) -> None:
        """Wait until something happened, at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()


class Jobs:
    """All that this worker holds, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Job] = {}
        self.bytes = 0
        """Of the commands held."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._by_key.values()))

    def get(self, key: str) -> Job | None:
        """Return the job of a key, from the moment its delivery came."""
        return self._by_key.get(key)

    def add(self, job: Job) -> None:
        """Hold a job."""
        self._by_key[job.event.key] = job
        self.bytes += job.size

    def drop(self, job: Job) -> None:
        """Hold it no more."""
        if self._by_key.pop(job.event.key, None) is not None:
            self.bytes -= job.size
        job.message.release()
        if job.follower is not None:
            job.follower.cancel()

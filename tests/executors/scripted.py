"""A platform in memory, and an executor on it that follows a script: for the worker's tests and for benches.

`Platform` is the cloud: it outlives the workers, which may share it. A block's `Script` says what its job
does and how the platform misbehaves. Whatever the platform starts is counted in `Platform.started`, by key:
more than one there is a task that ran twice.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Self

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause, ExecuteTask
from runmesh.executor import GONE, UNKNOWN, ExecutorConfig, Handle, LogLine, Observation, Phase, Position, Site, Task


class Config(ExecutorConfig):
    """Two keys of its own, so that there is something to get wrong."""

    size: int = 1
    image: str = "scripted"


class Fault(StrEnum):
    """What goes wrong with one submit."""

    REFUSED = "refused"
    """Unavailable: nothing was started."""
    REJECTED = "rejected"
    LOST_REQUEST = "lost request"
    """An ambiguous error, and nothing was started."""
    LOST_ANSWER = "lost answer"
    """An ambiguous error, and the job was started."""
    LATE = "late"
    """An ambiguous error, and the job is started half a find window later."""


@dataclass(frozen=True, slots=True)
class Script:
    """What the job of a block does."""

    runs: float | None = 0.0
    """Seconds from its start to its end; None: until it is stopped."""
    pending: float = 0.0
    """Seconds before it starts."""
    exit_code: int = 0
    submit: tuple[Fault, ...] = ()
    """The faults of the first submits, one after another."""
    submit_takes: float = 0.0
    cancel_takes: float | None = 0.0
    """Seconds from a cancel until the job is gone; None: it never goes."""
    finds: bool = True
    """Whether `find` answers at all."""
    prints: tuple[str, ...] = ()
    retry_after: float = 0.05


@dataclass(slots=True, eq=False)
class Job:
    """One job on the platform."""

    key: str
    handle: Handle
    script: Script
    seen: Observation = field(default_factory=lambda: Observation(Phase.PENDING))
    cancelled: bool = False
    removed: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, seen: Observation) -> None:
        """End the job, once."""
        if not self.ended.is_set():
            self.seen = seen
            self.ended.set()


class Platform:
    """The cloud."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.jobs: dict[Handle, Job] = {}
        self._by_key: dict[str, Job] = {}
        self.started: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self.silent = False
        """No observation is answered."""
        self.submitting = asyncio.Event()
        """Set as soon as any submit is under way."""
        self._lives: set[asyncio.Task[None]] = set()
        self._listeners: set[asyncio.Queue[Handle]] = set()

    def job(self, block: str) -> Job:
        """The latest job of a block."""
        return [job for handle, job in self.jobs.items() if handle.split("/")[1] == block][-1]

    @property
    def alive(self) -> list[Job]:
        """The jobs that run, or may still."""
        return [job for job in self.jobs.values() if not job.ended.is_set() and not job.removed]

    def start(self, task: Task[Any] | ExecuteTask, script: Script) -> Handle:
        """Start the job of a key, unless there is one."""
        if (job := self.known(task.key)) is not None:
            return job.handle
        self.started[task.key] += 1
        handle = Handle(f"scripted/{task.block}/{task.key}/{self.started[task.key]}")
        self.jobs[handle] = self._by_key[task.key] = job = Job(task.key, handle, script)
        self.later(self._live(job))
        return handle

    def known(self, key: str) -> Job | None:
        """The job of a key that is still there."""
        job = self._by_key.get(key)
        return job if job is not None and not job.removed else None

    def forget(self, job: Job) -> None:
        """Let somebody delete a job by hand."""
        job.removed = True

    def later(self, coroutine: Any) -> None:
        """Let something happen on the platform."""
        life = asyncio.get_running_loop().create_task(coroutine)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)

    def tell(self, job: Job) -> None:
        """Tell whoever listens that a job changed."""
        for listener in self._listeners:
            listener.put_nowait(job.handle)

    async def changes(self) -> AsyncIterator[Handle]:
        """Yield what changes."""
        mine: asyncio.Queue[Handle] = asyncio.Queue()
        self._listeners.add(mine)
        try:
            while True:
                yield await mine.get()
        finally:
            self._listeners.discard(mine)

    async def close(self) -> None:
        """Stop everything."""
        for life in list(self._lives):
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    async def _live(self, job: Job) -> None:
        await asyncio.sleep(job.script.pending)
        if job.ended.is_set():
            return
        job.seen = replace(job.seen, phase=Phase.RUNNING)
        self.tell(job)
        if job.script.runs is None:
            return
        await asyncio.sleep(job.script.runs)
        code = job.script.exit_code
        cause = Cause.USER if code else None
        job.end(
            Observation(Phase.FAILED if code else Phase.SUCCEEDED, code, cause, f"exit code {code}" if code else None)
        )
        self.tell(job)

    async def stop(self, job: Job) -> None:
        """Stop a job, in its own time."""
        if job.script.cancel_takes is None or job.cancelled:
            return
        job.cancelled = True
        await asyncio.sleep(job.script.cancel_takes)
        job.end(Observation(Phase.FAILED, 143, Cause.CANCELLED, "stopped"))
        self.tell(job)


class ScriptedExecutor:
    """One worker's client of the platform."""

    poll_interval: ClassVar[float] = 0.05
    batch: ClassVar[int] = 50
    gone_window: ClassVar[float] = 0.2
    find_window: ClassVar[float] = 0.4
    adoptable: ClassVar[bool] = True

    def __init__(self, platform: Platform, site: Site | None = None) -> None:
        self.platform = platform
        self.site = site

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def submit(self, task: Task[Any]) -> Handle:
        """Start a job as its script says."""
        self.platform.calls["submit"] += 1
        self.platform.submitting.set()
        script = self.platform.scripts.get(task.block, Script())
        if script.submit_takes:
            await asyncio.sleep(script.submit_takes)
        if script.submit:
            fault, *rest = script.submit
            self.platform.scripts[task.block] = replace(script, submit=tuple(rest))
            self._misbehave(fault, task, script)
        return self.platform.start(task, script)

    async def find(self, task: Task[Any]) -> Handle | None:
        """Look for the job of a key."""
        self.platform.calls["find"] += 1
        if not self.platform.scripts.get(task.block, Script()).finds:
            raise ConnectionError("no answer")
        job = self.platform.known(task.key)
        return job.handle if job else None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Say what jobs are doing."""
        self.platform.calls["observe"] += 1
        if self.platform.silent:
            return dict.fromkeys(handles, UNKNOWN)
        return {handle: self._seen(handle) for handle in handles}

    async def cancel(self, handle: Handle) -> None:
        """Stop a job."""
        self.platform.calls["cancel"] += 1
        if (job := self.platform.jobs.get(handle)) is not None:
            self.platform.cancelled.append(job.key)
            self.platform.later(self.platform.stop(job))

    async def remove(self, handle: Handle) -> None:
        """Delete a job."""
        self.platform.calls["remove"] += 1
        if (job := self.platform.jobs.get(handle)) is not None:
            job.removed = True

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """List the jobs that are there."""
        for handle, job in list(self.platform.jobs.items()):
            if not job.removed:
                yield job.key, handle

    def _misbehave(self, fault: Fault, task: Task[Any], script: Script) -> None:
        match fault:
            case Fault.REFUSED:
                raise Unavailable("too many requests", script.retry_after)
            case Fault.REJECTED:
                raise Rejected("no such image")
            case Fault.LOST_ANSWER:
                self.platform.start(task, script)
            case Fault.LATE:
                self.platform.later(self._start_late(task, script))
            case Fault.LOST_REQUEST:
                pass
        raise ConnectionError("connection reset")

    async def _start_late(self, task: Task[Any], script: Script) -> None:
        await asyncio.sleep(self.find_window / 2)
        self.platform.start(task, script)

    def _seen(self, handle: Handle) -> Observation:
        job = self.platform.jobs.get(handle)
        return GONE if job is None or job.removed else job.seen


class ToldExecutor(ScriptedExecutor):
    """A platform that tells of changes and prints what its jobs print."""

    def changes(self) -> AsyncIterator[Handle]:
        """Yield what changes."""
        return self.platform.changes()

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Yield the script's lines, then wait for the end."""
        job = self.platform.jobs[handle]
        for number, text in enumerate(job.script.prints, 1):
            if number > since.stdout[1]:
                yield LogLine("stdout", number, text, Position((number, number), since.stderr))
        await job.ended.wait()


class LocalExecutor(ToldExecutor):
    """Jobs that live in their worker: leaving kills them."""

    gone_window: ClassVar[float] = 0.0
    find_window: ClassVar[float] = 0.0
    adoptable: ClassVar[bool] = False

    def __init__(self, platform: Platform, site: Site | None = None) -> None:
        super().__init__(platform, site)
        self._own: set[Handle] = set()
        self.leases: list[float] = []

    async def __aexit__(self, *exc_info: object) -> None:
        for handle in self._own:
            job = self.platform.jobs[handle]
            job.end(Observation(Phase.FAILED, 137))
            job.removed = True

    async def beat(self, lease: float) -> None:
        """Note how long the worker lives."""
        self.leases.append(lease)

    async def submit(self, task: Task[Any]) -> Handle:
        """Start a job of our own."""
        handle = await super().submit(task)
        self._own.add(handle)
        return handle

    async def find(self, task: Task[Any]) -> Handle | None:
        """Look among our own."""
        handle = await super().find(task)
        return handle if handle in self._own else None

    def _seen(self, handle: Handle) -> Observation:
        return super()._seen(handle) if handle in self._own else GONE

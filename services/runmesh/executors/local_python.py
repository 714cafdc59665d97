"""Local processes: each task is one, a child of a small supervisor process that outlives no worker.

The worker's side knows of every job what its supervisor told it (`local/supervisor.py`), so observing costs
nothing and an end is known within a millisecond. A handle holds host, pid and start time, but it is good only
in the executor that started it: a job is never adopted by another one, since it dies with its worker.

What a job has started dies with it, also what left its process group (Linux). The environment is an allow-list
(`local/launch.py`), the working directory is the project, or a private one where there is none. Output goes to
files (`local/output.py`).
"""

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM, ENOSPC, ETXTBSY
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from runmesh.clock import clock
from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import ENDED, GONE, Handle, LogLine, Observation, Phase, Position, Site, Task
from runmesh.executors.local import launch
from runmesh.executors.local.launch import Config
from runmesh.executors.local.link import Link
from runmesh.executors.local.output import Output
from runmesh.platforms.exits import PROJECT_WRONG, SIGNALLED, WRONG, signal_name

__all__ = ["Config", "Executor"]

_FOR_NOW: Final = frozenset({EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSPC, ETXTBSY})
"""What the operating system says when it has no room at the moment."""
_OUR_STAGES: Final = frozenset({"lease", "fork"})
"""What can fail through no fault of the specification."""
_START_TIMEOUT: Final = 30.0
_CLOSE_MARGIN: Final = 5.0
_RUNNING: Final = Observation(Phase.RUNNING)


@dataclass(slots=True, eq=False)
class Job:
    """What is known of one job."""

    key: str
    grace: float
    output: Output
    is_runtime: bool
    workplace: Path | None = None
    """Its private directory, if it has one."""
    started: "asyncio.Future[Handle | Exception]" = field(default_factory=asyncio.Future)
    ended: "asyncio.Future[None]" = field(default_factory=asyncio.Future)
    observation: Observation = _RUNNING
    removed: bool = False

    @property
    def handle(self) -> Handle | None:
        """Its handle, once it was started."""
        outcome = self.started.result() if self.started.done() else None
        return None if isinstance(outcome, Exception) else outcome

    def finish(self) -> None:
        """Wake whoever waits for this job, whatever became of it."""
        if not self.ended.done():
            self.ended.set_result(None)


class Executor:
    """The processes of one worker."""

    poll_interval: ClassVar[float] = 1.0
    batch: ClassVar[int] = 1000
    gone_window: ClassVar[float] = 0.0
    find_window: ClassVar[float] = 0.0
    """Both 0: what the supervisor says of a process is final."""
    adoptable: ClassVar[bool] = False

    def __init__(self, site: Site) -> None:
        self._site = site
        self._host = socket.gethostname()
        self._directory = site.directory / "output"
        self._jobs: dict[str, Job] = {}
        self._changes: asyncio.Queue[Handle] = asyncio.Queue()
        self._link: Link | None = None
        self._linking = asyncio.Lock()
        self._lease: dict[str, float] | None = None

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._linked()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        grace = max((job.grace for job in self._jobs.values()), default=0.0)
        try:
            if self._link:
                await self._link.close(within=grace + _CLOSE_MARGIN)
        finally:
            self._jobs.clear()
            self._lease = None
            shutil.rmtree(self._directory, ignore_errors=True)

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Start the task's process."""
        link = await self._linked()
        job = self._jobs.get(task.key) or self._start(link, task)
        outcome = await self._outcome(job)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def find(self, task: Task[Config]) -> Handle | None:
        """Return the process of this key, if this executor started one."""
        job = self._jobs.get(task.key)
        outcome = await self._outcome(job) if job else None
        return None if isinstance(outcome, Exception) else outcome

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Answer from memory."""
        return {handle: job.observation if (job := self._job(handle)) else GONE for handle in handles}

    async def cancel(self, handle: Handle) -> None:
        """TERM for the process group, and KILL after the grace."""
        if (job := self._job(handle)) and self._link:
            self._link.send(do="stop", key=job.key)

    async def remove(self, handle: Handle) -> None:
        """Forget the job and delete its output; one that still runs is stopped first."""
        job = self._job(handle)
        if job is None:
            return
        job.removed = True
        if job.observation.phase in ENDED:
            self._forget(job)
            if job.workplace:
                await asyncio.to_thread(shutil.rmtree, job.workplace, ignore_errors=True)
        else:
            await self.cancel(handle)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield every job that was not removed yet."""
        for job in list(self._jobs.values()):
            if handle := job.handle:
                yield job.key, handle

    # --- optional powers ----------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow both streams; nothing for an unknown handle."""
        if job := self._job(handle):
            async for line in job.output.follow(since, job.ended):
                yield line

    async def changes(self) -> AsyncIterator[Handle]:
        """Yield the handle of every job at its end."""
        while True:
            yield await self._changes.get()

    async def beat(self, lease: float) -> None:
        """Extend the jobs' lease."""
        self._lease = {"until": clock() + lease, "lease": lease}
        if self._link:
            self._link.send(do="beat", **self._lease)

    # --- the supervisor -----------------------------------------------------------------------------

    async def _linked(self) -> Link:
        """Return the supervisor, or a new one if it died."""
        async with self._linking:
            if self._link is None or not self._link.alive:
                try:
                    self._link = await Link.open(self._hear, self._lost)
                except OSError as error:
                    raise Unavailable(f"no process can be started here: {error}") from error
                if self._lease:
                    self._link.send(do="beat", **self._lease)
            return self._link

    def _start(self, link: Link, task: Task[Config]) -> Job:
        if not task.command:
            raise Rejected("the command is empty")
        stdout, stderr = self._directory / f"{task.key}.stdout", self._directory / f"{task.key}.stderr"
        job = Job(task.key, task.config.kill_grace, Output(stdout, stderr), launch.runs_runtime(task))
        project = launch.directory(task)
        if project is None:
            job.workplace = self._directory / task.key
            job.workplace.mkdir(exist_ok=True)
        self._jobs[task.key] = job
        link.send(
            do="start",
            key=task.key,
            command=launch.command(task),
            environment=launch.environment(task, self._site.environment) | link.mark,
            directory=str(project or job.workplace),
            stdout=str(stdout),
            stderr=str(stderr),
            grace=job.grace,
        )
        return job

    async def _outcome(self, job: Job) -> Handle | Exception:
        async with asyncio.timeout(_START_TIMEOUT):
            return await asyncio.shield(job.started)

    def _job(self, handle: Handle) -> Job | None:
        job = self._jobs.get(handle.rpartition(":")[2])
        return job if job and job.handle == handle else None

    def _hear(self, message: dict[str, Any]) -> None:
        job = self._jobs[message["key"]]
        if "pid" in message:
            handle = f"local:{self._host}:{message['pid']}:{message['start']}:{job.key}"
            job.started.set_result(Handle(handle))
        elif "stage" in message:
            self._forget(job)
            job.started.set_result(_refusal(message))
        else:
            job.observation = _ended(job, message["code"], message["why"])
            self._finished(job)

    def _finished(self, job: Job) -> None:
        job.finish()
        if handle := job.handle:
            self._changes.put_nowait(handle)
        if job.removed:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.key, None)
        job.output.remove()
        job.finish()

    def _lost(self) -> None:
        """The supervisor is no more, and so are its jobs."""
        lost = [job for job in self._jobs.values() if job.observation.phase not in ENDED]
        for job in lost:
            self._forget(job)
            if not job.started.done():
                job.started.set_result(ConnectionError("the supervisor of the local processes died"))
            self._finished(job)


# --- what the supervisor's words mean ---------------------------------------------------------------


def _refusal(message: Mapping[str, Any]) -> Exception:
    stage = message["stage"]
    text = f"cannot start the process ({stage}): {message['error']}"
    return Unavailable(text) if stage in _OUR_STAGES or message["errno"] in _FOR_NOW else Rejected(text)


def _ended(job: Job, code: int, why: str | None) -> Observation:
    if code == 0 and why is None:
        return Observation(Phase.SUCCEEDED, exit_code=0)
    cause, reason = _explained(code, why, is_runtime=job.is_runtime)
    exit_code = code if code >= 0 else SIGNALLED - code
    return Observation(Phase.FAILED, exit_code=exit_code, cause=cause, reason=reason, log_tail=job.output.tail())


def _explained(code: int, why: str | None, *, is_runtime: bool) -> tuple[Cause, str]:
    how = f"killed by {signal_name(-code)}" if code < 0 else f"exit code {code}"
    match why:
        case "stop":
            return Cause.CANCELLED, f"stopped: {how}"
        case "lapsed" | "orphaned":
            return Cause.INFRASTRUCTURE, f"stopped, since the worker's lease ran out: {how}"
    if code == PROJECT_WRONG and is_runtime:
        return Cause.CONFIG, f"{how}: {WRONG}"
    if code == -signal.SIGKILL:
        return Cause.USER, f"{how}, likely because it was out of memory"
    return Cause.USER, how

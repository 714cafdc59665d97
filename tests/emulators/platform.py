"""A platform of its own: a server on a unix socket that really runs processes, and outlives every worker.

    python -m tests.emulators.platform SOCKET

It plays a cloud whose jobs are adoptable. A job has the name that its submitter derived from the task's key; the
same name again is the same job, as with Kubernetes. A submit that it can't get to in time (`until`, of the monotonic
clock) starts nothing, however slow this machine is: that is what `find_window` promises. Every job that was ever
started stays in its history with the labels of its task, whatever became of it: more than one there for the same
submission is a task that ran twice.

Its executor's calls come on the socket of serving.py. How it misbehaves is said by `Faults`: each call's fate follows
from the seed, the name and how often it was called with it, so that no order of calls changes it.
"""

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

from tests.emulators.containers import BARE
from tests.emulators.serving import Answer, Request, call, inherited, serve

_TAIL: Final = 20
_GRACE: Final = 1.0
SOCKET: Final = "PLATFORM_SOCKET"
"""The variable by which its executor finds it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often which fault happens, as a share of the calls; and how long a stop takes, in seconds."""

    throttle: float = 0.0
    """An explicit refusal for now: nothing was done."""
    internal: float = 0.0
    """A 5xx: nothing was done, but who can know."""
    lost: float = 0.0
    """It was done, and the answer is lost."""
    slow_delete: float = 0.0
    """Seconds until a job that is to stop is told so."""
    only: tuple[str, ...] = ()
    """What may be called with a fault; everything, if empty."""
    first: int = 0
    """How many calls of the same kind and name may fail; any number, if 0."""
    seed: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """One job: its name, what it was started for, and its process."""

    name: str
    handle: str
    labels: dict[str, Any]
    process: Process
    output: Path
    cancelled: bool = False
    stop: "asyncio.Task[None] | None" = None

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process.returncode is None

    def seen(self) -> dict[str, Any]:
        """Say how it is."""
        code = self.process.returncode
        if code is None:
            return {"phase": "running"}
        tail = self.output.read_text(errors="replace").splitlines()[-_TAIL:]
        phase = "failed" if code or self.cancelled else "succeeded"
        return {"phase": phase, "code": code if code >= 0 else 128 - code, "cancelled": self.cancelled, "tail": tail}

    def signal(self, number: int) -> None:
        """Signal all its processes, while the number of their group is surely theirs."""
        with suppress(ProcessLookupError):  # it ends at this very moment
            if self.running:
                os.killpg(self.process.pid, number)


@dataclass(slots=True, eq=False)
class Platform:
    """The cloud itself."""

    directory: Path
    inherited: Mapping[str, str]
    jobs: dict[str, Job] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    _calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    _submitting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, call: Request) -> Answer | None:
        """Answer one call, or don't."""
        do, name = call["do"], str(call.get("name") or call.get("handles") or "")
        if do in ("misbehave", "history"):
            return await self._act(call)
        self._calls[do, name] += 1
        nth, faults = self._calls[do, name], self.faults
        if (faults.only and do not in faults.only) or (faults.first and nth > faults.first):
            return await self._act(call)
        fate = Random(f"{faults.seed} {do} {name} {nth}").random()  # noqa: S311 - a seeded game, no secret
        if fate < faults.throttle:
            return {"error": "throttled", "retry_after": 0.2}
        if fate < faults.throttle + faults.internal:
            return {"error": "internal"}
        answer = await self._act(call)
        return None if fate < faults.throttle + faults.internal + faults.lost else answer

    async def _act(self, call: Request) -> Answer:
        if call["do"] == "submit":
            return await self._submit(call)
        acts: dict[str, Callable[[Request], Answer | None]] = {
            "find": self._find,
            "observe": lambda call: {"seen": {handle: self._seen(handle) for handle in call["handles"]}},
            "cancel": lambda call: self._cancel(call["name"]),
            "remove": lambda call: self._remove(call["name"]),
            "jobs": self._listed,
            "history": lambda _: {"history": self.history},
            "misbehave": self._misbehave,
        }
        return acts[call["do"]](call) or {}

    def _find(self, call: Request) -> dict[str, Any]:
        job = self.jobs.get(call["name"])
        return {"handle": job.handle if job else None}

    def _listed(self, call: Request) -> dict[str, Any]:
        found = [job for job in self.jobs.values() if call["pool"] in (None, job.labels["pool"])]
        return {"jobs": [[job.name, job.handle] for job in found]}

    def _misbehave(self, call: Request) -> None:
        self.faults = Faults(**call["faults"] | {"only": tuple(call["faults"]["only"])})

    async def _submit(self, call: Request) -> dict[str, Any]:
        async with self._submitting:
            job = self.jobs.get(call["name"])
            if job is None and monotonic() > call["until"]:
                return {"error": "too late"}
            if job is None:
                try:
                    job = await self._start(call)
                except OSError as error:
                    return {"error": "rejected", "reason": str(error)}
        return {"handle": job.handle}

    async def _start(self, call: Request) -> Job:
        name, number = call["name"], len(self.history) + 1
        output = self.directory / f"{number}.log"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *call["command"],
                env={**self.inherited, **call["environment"]},
                cwd=self.directory,
                stdin=DEVNULL,
                stdout=file,
                stderr=STDOUT,
                start_new_session=True,
            )
        job = self.jobs[name] = Job(name, f"platform/{name}/{number}", call["labels"], process, output)
        self.history.append({"name": name, "handle": job.handle, **job.labels})
        return job

    def _job(self, handle: str) -> Job | None:
        job = self.jobs.get(handle.split("/")[1])
        return job if job and job.handle == handle else None

    def _seen(self, handle: str) -> dict[str, Any]:
        job = self._job(handle)
        return job.seen() if job else {"phase": "gone"}

    def _cancel(self, handle: str) -> None:
        job = self._job(handle)
        if job and job.running and job.stop is None:
            job.cancelled = True
            job.stop = asyncio.create_task(self._stop(job))

    async def _stop(self, job: Job) -> None:
        await asyncio.sleep(self.faults.slow_delete)
        job.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await job.process.wait()
        job.signal(signal.SIGKILL)

    def _remove(self, handle: str) -> None:
        if job := self._job(handle):
            job.signal(signal.SIGKILL)
            job.output.unlink(missing_ok=True)
            del self.jobs[job.name]


@asynccontextmanager
async def platform(inherited: Mapping[str, str] | None = None) -> AsyncIterator[Platform]:
    """Have one in this process for the length of the block; no job outlives it."""
    with tempfile.TemporaryDirectory(prefix="platform-") as directory:
        found = Platform(Path(directory), {**BARE, **(inherited or {})})
        try:
            yield found
        finally:
            for job in found.jobs.values():
                job.signal(signal.SIGKILL)
                await job.process.wait()


async def main(socket: Path) -> None:
    """Serve until told to stop."""
    async with platform(inherited()) as found:
        await serve(socket, found.answer, {SOCKET: str(socket)})


async def misbehave(path: Path, faults: Faults) -> None:
    """Let the platform misbehave from now on."""
    await call(path, do="misbehave", faults=asdict(faults))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

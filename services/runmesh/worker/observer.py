"""The one observer of a worker: asks for all its jobs, in shards, at the executor's own pace.

Where an executor is told of changes (`SeesChanges`), what changed is asked for at once beside that. An
error of the platform ends nothing: it is logged, and the next round comes later.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import structlog

from runmesh.errors import Unavailable
from runmesh.executor import UNKNOWN, Handle, SeesChanges
from runmesh.worker.jobs import Job
from runmesh.worker.lease import LeaseLost
from runmesh.worker.platform import Platform

log = structlog.get_logger(__name__)

AT_ONCE: Final = 4
LONGEST_PAUSE: Final = 60.0
_RESTART: Final = 1.0


class Observer:
    """Knows which job has which handle, and tells each what the platform says of it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._jobs: dict[Handle, Job] = {}
        self._changed: dict[Handle, None] = {}
        self._wake = asyncio.Event()
        self._told = isinstance(platform.executor, SeesChanges)
        self._pause = platform.executor.poll_interval

    def add(self, job: Job) -> None:
        """Observe a job from now on; at once if observing costs little."""
        self._jobs[job.handle] = job
        if self._told:
            self._hint(job.handle)

    def forget(self, job: Job) -> None:
        """Observe a job no more: an answer that is under way is ignored."""
        if job.hold and job.claim.handle and self._jobs.get(job.claim.handle) is job:
            del self._jobs[job.claim.handle]

    async def poll(self) -> None:
        """Ask for everything, round after round."""
        while True:
            await asyncio.sleep(self._pause)
            await self._ask(list(self._jobs))

    async def attend(self) -> None:
        """Ask for what may have changed, at once."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = list(self._changed), {}
            await self._ask([handle for handle in changed if handle in self._jobs])

    async def listen(self) -> None:
        """Take the executor's own hints, where it has any."""
        executor = self._platform.executor
        while isinstance(executor, SeesChanges):
            try:
                async for handle in executor.changes():
                    self._hint(handle)
            except Exception as error:  # noqa: BLE001 - foreign code; polling goes on beside it
                log.warning("changes not followed", action="observe", error=repr(error))
            await asyncio.sleep(_RESTART)

    def _hint(self, handle: Handle) -> None:
        self._changed[handle] = None
        self._wake.set()

    async def _ask(self, handles: Sequence[Handle]) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(shard: Collection[Handle]) -> bool:
            async with room:
                return await self._observe(shard)

        shards = list(_shards(handles, self._platform.executor.batch))
        if len(shards) == 1:
            answered = await self._observe(shards[0])
        else:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(ask(shard)) for shard in shards]
            answered = all(task.result() for task in asked)
        if answered:
            self._pause = self._platform.executor.poll_interval

    async def _observe(self, handles: Collection[Handle]) -> bool:
        """Tell each job what is said of it; return whether the platform answered."""
        window = self._platform.executor.gone_window
        try:
            answers = await self._platform.observe(handles)
            for handle in handles:
                if job := self._jobs.get(handle):
                    job.see(answers.get(handle, UNKNOWN), window)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code: keep what was known
            asked = error.retry_after if isinstance(error, Unavailable) else None
            self._pause = min(LONGEST_PAUSE, asked or 2 * self._pause)
            log.warning(
                "platform not observed", action="observe", jobs=len(handles), pause=self._pause, error=repr(error)
            )
            return False
        return True


def _shards(handles: Sequence[Handle], size: int) -> Iterator[Sequence[Handle]]:
    for first in range(0, len(handles), size):
        yield handles[first : first + size]

"""The executor, behind the lease: every call is allowed, bounded, and in a name of its own.

Answers come from foreign code. What it raises is told apart in one place: a lost lease ends the worker,
`Rejected` and `Unavailable` mean something, anything else is only a failed call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from typing import Any, Final, TypeVar

from runmesh.executor import Executor, Handle, Observation, Task
from runmesh.worker.lease import Lease

T = TypeVar("T")

CALL: Final = 30.0
"""Seconds for one call that has no limit of its own."""
AT_ONCE: Final = 64
"""How many jobs are told to stop at once, and how many removed: the others wait, and their time does not run yet."""
SUBMIT_SHARE: Final = 0.8
"""A submit ends within this part of `find_window`, so that what `find` says afterwards can be believed."""


class Platform:
    """One executor type's platform as the worker uses it. Every call may raise `LeaseLost` or `TimeoutError`."""

    def __init__(self, executor: Executor[Any], lease: Lease) -> None:
        self.executor = executor
        self._lease = lease
        self._stopping, self._removing = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)

    @property
    def adoptable(self) -> bool:
        """Whether a job outlives its worker, so that another worker can go on with it."""
        return self.executor.adoptable

    async def submit(self, task: Task[Any]) -> Handle:
        """Start the task's job."""
        return await self._call(self.executor.submit(task), self.executor.find_window * SUBMIT_SHARE or CALL)

    async def find(self, task: Task[Any]) -> Handle | None:
        """Look for the task's job."""
        return await self._call(self.executor.find(task))

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Ask what jobs are doing."""
        return await self._call(self.executor.observe(handles))

    async def cancel(self, handle: Handle) -> None:
        """Tell a job to stop."""
        async with self._stopping:
            await self._call(self.executor.cancel(handle))

    async def remove(self, handle: Handle) -> None:
        """Delete what is left of a job."""
        async with self._removing:
            await self._call(self.executor.remove(handle))

    def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """List the jobs of this mesh and pool."""
        self._lease.check()
        return self.executor.jobs()

    async def _call(self, call: Awaitable[T], within: float = CALL) -> T:
        try:
            self._lease.check()
        except BaseException:
            if asyncio.iscoroutine(call):
                call.close()
            raise
        async with asyncio.timeout(within):
            return await call

"""What benches do with thousands of jobs in flight on one worker's executor, whatever its platform."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from runmesh.executor import ENDED, Handle, Phase, Position, Task
from tests.emulators.serving import call

AT_ONCE: Final = 32
"""Submissions that a worker has in flight."""


async def submitted(executor: Any, tasks: Iterable[Task[Any]]) -> list[Handle]:
    """Create all jobs; so many are on their way at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def submit(task: Task[Any]) -> Handle:
        async with room:
            handle: Handle = await executor.submit(task)
            return handle

    return await asyncio.gather(*map(submit, tasks))


async def removed(executor: Any, handles: Sequence[Handle]) -> None:
    """Delete all jobs."""
    room = asyncio.Semaphore(AT_ONCE)

    async def remove(handle: Handle) -> None:
        async with room:
            await executor.remove(handle)

    await asyncio.gather(*map(remove, handles))


async def followed(executor: Any, handle: Handle) -> None:
    """Take a job's lines."""
    async for _ in executor.logs(handle, since=Position()):
        pass


async def count(executor: Any, handles: Sequence[Handle]) -> int:
    """Return how many have ended."""
    return sum(seen.phase in ENDED for seen in (await executor.observe(handles)).values())


async def until(executor: Any, handles: Sequence[Handle], wanted: AbstractSet[Phase]) -> None:
    """Observe until all are in a phase that is wanted."""
    while True:
        if {seen.phase for seen in (await executor.observe(handles)).values()} <= wanted:
            return
        await asyncio.sleep(executor.poll_interval)


async def calls(socket: Path) -> Counter[str]:
    """Return how often which method was called."""
    return Counter(dict((await call(socket, do="calls"))["calls"]))


def shown(figures: Mapping[str, str]) -> None:
    """Print figures."""
    table = Table(box=None, show_header=False)
    for name, figure in figures.items():
        table.add_row(name, figure)
    Console().print(table)

"""Thousands of jobs in flight on one worker's executor, whatever its platform: its memory, its calls, and their ends.

The platform is an emulator in a process of its own, whose jobs are hollow: they run when they are created, and end when
they are told to. The executor is observed as a worker does it: in shards of its `batch`, every `poll_interval`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from runmesh.executor import ENDED, Handle, Phase, Position, Site, Task
from tests.bench.memory import resident
from tests.emulators.serving import call

AT_ONCE: Final = 32
"""Submissions that a worker has in flight."""
QUIET: Final = 60.0
"""Seconds in which nothing happens."""
PROBES: Final = 20
"""Ends whose delay is measured."""

Delays = Callable[[Any, Path, Sequence[Handle]], Awaitable[list[float]]]


async def delays_at_once(executor: Any, socket: Path, handles: Sequence[Handle]) -> list[float]:
    """Let some jobs end; return the seconds until each is seen."""
    before = await count(executor, handles)
    await call(socket, do="end", count=PROBES)
    began, found = perf_counter(), list[float]()
    while len(found) < PROBES:
        await asyncio.sleep(executor.poll_interval)
        new = await count(executor, handles) - before - len(found)
        found += [perf_counter() - began] * new
    return found


async def fly(
    running: Callable[..., AbstractAsyncContextManager[dict[str, str]]],
    executor: Callable[[Site], AbstractAsyncContextManager[Any]],
    tasks: Sequence[Task[Any]],
    name: str,
    environment: Mapping[str, str],
    *,
    delays: Delays = delays_at_once,
) -> None:
    """Measure an executor on an emulator, and print the figures. `environment` has the rates of a real platform."""
    with TemporaryDirectory(prefix="bench-") as directory:
        socket = Path(directory) / "platform"
        async with running(socket, "--hollow") as there:
            site = Site("bench", "default", "worker", {**there, **environment}, Path(directory))
            async with executor(site) as worker:
                figures = await measured(worker, socket, tasks, name, delays)
    shown(figures)


async def measured(
    executor: Any, socket: Path, tasks: Sequence[Task[Any]], name: str, delays: Delays
) -> dict[str, str]:
    """Run all tasks, whose jobs the platform calls by a `name`; follow their output, and return the figures."""
    empty, began = resident(os.getpid()), perf_counter()
    handles = await submitted(executor, tasks)
    started = perf_counter() - began
    followers = [asyncio.create_task(followed(executor, handle)) for handle in handles]
    await until(executor, handles, {Phase.RUNNING})
    full = resident(os.getpid())
    quiet, busy = await _quiet(executor, socket, handles)
    seen = await delays(executor, socket, handles)
    await call(socket, do="end", count=len(tasks))
    began = perf_counter()
    await until(executor, handles, ENDED)
    ended = perf_counter() - began
    for follower in followers:  # what is left to read would take minutes, at the rate of reads
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    await removed(executor, handles)
    return {
        f"{name}s in flight": f"{len(tasks):,}",
        "memory, empty and full": f"{empty:.0f} and {full:.0f} MiB",
        f"... for each {name}": f"{(full - empty) * 1024 / len(tasks):.1f} KiB",
        f"{name}s created": f"{len(tasks) / started:.0f} a second",
        f"calls in {QUIET:g} s in which nothing happens": ", ".join(f"{name} {n}" for name, n in quiet.items()),
        "... and CPU": f"{busy:.1f} s",
        "from an end to its observation": f"median {median(seen):.1f} s, at most {max(seen):.1f} s",
        "all ended, until all are seen": f"{ended:.1f} s",
        **{
            f"calls for each {name}: {kind}": f"{n / len(tasks):.3f}" for kind, n in (await calls(socket)).most_common()
        },
    }


async def _quiet(executor: Any, socket: Path, handles: Sequence[Handle]) -> tuple[Counter[str], float]:
    """Observe for a while; return the calls, and the seconds of CPU."""
    before, began, busy = await calls(socket), perf_counter(), process_time()
    while perf_counter() - began < QUIET:
        await asyncio.sleep(executor.poll_interval)
        await phases(executor, handles)
    return await calls(socket) - before, process_time() - busy


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


async def phases(executor: Any, handles: Sequence[Handle]) -> list[Phase]:
    """Observe all once."""
    shards = [handles[first : first + executor.batch] for first in range(0, len(handles), executor.batch)]
    return [seen.phase for shard in shards for seen in (await executor.observe(shard)).values()]


async def count(executor: Any, handles: Sequence[Handle]) -> int:
    """Return how many have ended."""
    return sum(phase in ENDED for phase in await phases(executor, handles))


async def until(executor: Any, handles: Sequence[Handle], wanted: AbstractSet[Phase]) -> None:
    """Observe until all are in a phase that is wanted."""
    while True:
        if set(await phases(executor, handles)) <= wanted:
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

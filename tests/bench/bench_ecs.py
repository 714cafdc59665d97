"""Thousands of ECS tasks in flight on one worker's executor: its memory, and its calls.

AWS is a process of its own (`tests/emulators/ecs.py`), whose tasks are hollow: they run when they are started, and end
when they are told to. The executor is observed as a worker does it: in shards of its `batch`, every `poll_interval`.

`python -m tests.bench.bench_ecs` prints the figures.
"""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.console import Console
from rich.table import Table

from runmesh.executor import ENDED, Handle, Phase, Position, Site
from runmesh.executors.ecs import Config, Executor
from tests.bench.memory import resident
from tests.emulators.ecs import CONFIG
from tests.emulators.running import running_ecs
from tests.emulators.serving import call
from tests.executors.tasks import task_of

TASKS: Final = int(os.environ.get("BENCH_ECS_TASKS", "2000"))
AT_ONCE: Final = 32
"""Submissions that a worker has in flight."""
QUIET: Final = 60.0
"""Seconds in which nothing happens."""
SETTLING: Final = 5.0
"""Seconds in which those who follow begin to."""


async def measure(executor: Executor, socket: Path) -> dict[str, str]:
    """Run everything; return the figures."""
    empty, began = resident(os.getpid()), perf_counter()
    handles = await submitted(executor)
    started = perf_counter() - began
    await until(executor, handles, {Phase.RUNNING})
    following = [asyncio.create_task(followed(executor, handle)) for handle in handles]
    await asyncio.sleep(SETTLING)
    full, before, began = resident(os.getpid()), await calls(socket), perf_counter()
    rounds = 0
    while perf_counter() - began < QUIET:
        await asyncio.sleep(executor.poll_interval)
        await phases(executor, handles)
        rounds += 1
    quiet = await calls(socket) - before
    await call(socket, do="end", count=TASKS)
    began = perf_counter()
    await until(executor, handles, ENDED)
    ended = perf_counter() - began
    for each in following:  # all that is left would take minutes, at the rate of reads
        each.cancel()
    return {
        "tasks in flight": f"{TASKS:,}",
        "memory, empty and full": f"{empty:.0f} and {full:.0f} MiB",
        "... for each task": f"{(full - empty) * 1024 / TASKS:.1f} KiB",
        "tasks started": f"{TASKS / started:.0f} a second",
        f"DescribeTasks in {QUIET:g} s in which nothing happens": f"{quiet['DescribeTasks']}, in {rounds} rounds",
        "... and reads of logs": f"{quiet['GetLogEvents']}",
        "all ended, until all are seen": f"{ended:.1f} s",
        **{f"calls for each task: {name}": f"{n / TASKS:.3f}" for name, n in (await calls(socket)).most_common()},
    }


async def followed(executor: Executor, handle: Handle) -> int:
    """Read all that a task prints; return how many lines that is."""
    return len([line async for line in executor.logs(handle, since=Position())])


async def submitted(executor: Executor) -> list[Handle]:
    """Start all tasks."""
    room = asyncio.Semaphore(AT_ONCE)

    async def submit(number: int) -> Handle:
        async with room:
            return await executor.submit(task_of(Config(**CONFIG), "true", key=f"task{number}"))

    return await asyncio.gather(*map(submit, range(TASKS)))


async def until(executor: Executor, handles: Sequence[Handle], wanted: AbstractSet[Phase]) -> None:
    """Observe until all are in a phase that is wanted."""
    while True:
        if set(await phases(executor, handles)) <= wanted:
            return
        await asyncio.sleep(executor.poll_interval)


async def phases(executor: Executor, handles: Sequence[Handle]) -> list[Phase]:
    """Observe all once."""
    shards = [handles[first : first + executor.batch] for first in range(0, len(handles), executor.batch)]
    return [seen.phase for shard in shards for seen in (await executor.observe(shard)).values()]


async def calls(socket: Path) -> Counter[str]:
    """Return how often which operation was called."""
    return Counter(dict((await call(socket, do="calls"))["calls"]))


async def main() -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-ecs-") as directory:
        socket = Path(directory) / "aws"
        async with running_ecs(socket, "--hollow") as there:
            environment = {**there, "RUNMESH_ECS_POLL_INTERVAL": "2"}
            async with Executor(Site("bench", "default", "worker", environment, Path(directory))) as executor:
                figures = await measure(executor, socket)
    table = Table(box=None, show_header=False)
    for name, figure in figures.items():
        table.add_row(name, figure)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

"""Thousands of container groups in flight on one worker's executor: its memory, its calls, and how soon an end is seen.

Azure is a process of its own (`tests/emulators/azure.py`), whose containers are hollow: they run when their groups are
created, and end when they are told to. The executor is observed as a worker does it, every `poll_interval`, and every
container's output is followed.

`python -m tests.bench.bench_azure` prints the figures.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final

from runmesh.executor import ENDED, Handle, Phase, Site
from runmesh.executors.azure_container_instance import Config, Executor
from tests.bench.flight import calls, count, followed, removed, shown, submitted, until
from tests.bench.memory import resident
from tests.emulators.azure import CONFIG
from tests.emulators.running import running_azure
from tests.emulators.serving import call
from tests.executors.tasks import task_of

GROUPS: Final = int(os.environ.get("BENCH_AZURE_GROUPS", "2000"))
QUIET: Final = 60.0
"""Seconds in which nothing happens."""
PROBES: Final = 20
"""Ends whose delay is measured, all at once."""


async def measure(executor: Executor, socket: Path) -> dict[str, str]:
    """Run everything; return the figures."""
    empty, began = resident(os.getpid()), perf_counter()
    tasks = (task_of(Config(**CONFIG), "true", key=f"job{n}") for n in range(GROUPS))
    handles = await submitted(executor, tasks)
    started = perf_counter() - began
    followers = [asyncio.create_task(followed(executor, handle)) for handle in handles]
    await until(executor, handles, {Phase.RUNNING})
    full, before, began, busy = resident(os.getpid()), await calls(socket), perf_counter(), process_time()
    while perf_counter() - began < QUIET:
        await asyncio.sleep(executor.poll_interval)
        await executor.observe(handles)
    quiet, busy = await calls(socket) - before, process_time() - busy
    found = await delays(executor, socket, handles)
    await call(socket, do="end", count=GROUPS)
    began = perf_counter()
    await until(executor, handles, ENDED)
    ended = perf_counter() - began
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    await removed(executor, handles)
    return {
        "groups in flight": f"{GROUPS:,}",
        "memory, empty and full": f"{empty:.0f} and {full:.0f} MiB",
        "... for each group": f"{(full - empty) * 1024 / GROUPS:.1f} KiB",
        "groups created": f"{GROUPS / started:.0f} a second",
        f"calls in {QUIET:g} s in which nothing happens": ", ".join(f"{name} {n}" for name, n in quiet.items()),
        "... and CPU": f"{busy:.1f} s",
        "from an end to its observation": f"median {median(found):.1f} s, at most {max(found):.1f} s",
        "all ended, until all are seen": f"{ended:.1f} s",
        **{f"calls for each group: {name}": f"{n / GROUPS:.3f}" for name, n in (await calls(socket)).most_common()},
    }


async def delays(executor: Executor, socket: Path, handles: Sequence[Handle]) -> list[float]:
    """Let some containers end; return the seconds until each is seen."""
    before = await count(executor, handles)
    await call(socket, do="end", count=PROBES)
    began, found = perf_counter(), list[float]()
    while len(found) < PROBES:
        await asyncio.sleep(executor.poll_interval)
        new = await count(executor, handles) - before - len(found)
        found += [perf_counter() - began] * new
    return found


async def main() -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-azure-") as directory:
        socket = Path(directory) / "azure"
        async with running_azure(socket, "--hollow") as there:
            usual = {"POLL_INTERVAL": "2", "READ_RATE": "15", "LOG_RATE": "5"}
            environment = {**there, **{f"RUNMESH_AZURE_{name}": value for name, value in usual.items()}}
            async with Executor(Site("bench", "default", "worker", environment, Path(directory))) as executor:
                figures = await measure(executor, socket)
    shown(figures)


if __name__ == "__main__":
    asyncio.run(main())

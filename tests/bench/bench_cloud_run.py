"""Thousands of Cloud Run jobs in flight on one worker's executor: its memory, its calls, and how soon an end is seen.

Google is a process of its own (`tests/emulators/cloud_run.py`), whose executions are hollow: they run when their jobs
are created, and end when they are told to; its project takes more than a thousand jobs. The executor is observed as a
worker does it, every `poll_interval`, and every job's output is followed.

`python -m tests.bench.bench_cloud_run` prints the figures.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import uniform
from statistics import median
from time import perf_counter, process_time
from typing import Final

from runmesh.executor import ENDED, Handle, Phase, Site
from runmesh.executors.gcp_cloud_run import Config, Executor
from tests.bench.flight import calls, count, followed, removed, shown, submitted, until
from tests.bench.memory import resident
from tests.emulators.cloud_run import CONFIG
from tests.emulators.running import running_cloud_run
from tests.emulators.serving import call
from tests.executors.tasks import task_of

JOBS: Final = int(os.environ.get("BENCH_CLOUD_RUN_JOBS", "2000"))
QUIET: Final = 60.0
"""Seconds in which nothing happens."""
PROBES: Final = 20
"""Ends whose delay is measured, one after another."""


async def measure(executor: Executor, socket: Path) -> dict[str, str]:
    """Run everything; return the figures."""
    empty, began = resident(os.getpid()), perf_counter()
    handles = await submitted(executor, (task_of(Config(**CONFIG), "true", key=f"job{n}") for n in range(JOBS)))
    started = perf_counter() - began
    followers = [asyncio.create_task(followed(executor, handle)) for handle in handles]
    await until(executor, handles, {Phase.RUNNING})
    full, before, began, busy = resident(os.getpid()), await calls(socket), perf_counter(), process_time()
    while perf_counter() - began < QUIET:
        await asyncio.sleep(executor.poll_interval)
        await executor.observe(handles)
    quiet, busy = await calls(socket) - before, process_time() - busy
    delays = [await delay(executor, socket, handles) for _ in range(PROBES)]
    await call(socket, do="end", count=JOBS)
    await until(executor, handles, ENDED)
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    await removed(executor, handles)
    return {
        "jobs in flight": f"{JOBS:,}",
        "memory, empty and full": f"{empty:.0f} and {full:.0f} MiB",
        "... for each job": f"{(full - empty) * 1024 / JOBS:.1f} KiB",
        "jobs created": f"{JOBS / started:.0f} a second",
        f"calls in {QUIET:g} s in which nothing happens": ", ".join(f"{name} {n}" for name, n in quiet.items()),
        "... and CPU": f"{busy:.1f} s",
        "from an end to its observation": f"median {median(delays):.1f} s, at most {max(delays):.1f} s",
        **{f"calls for each job: {name}": f"{n / JOBS:.3f}" for name, n in (await calls(socket)).most_common()},
    }


async def delay(executor: Executor, socket: Path, handles: Sequence[Handle]) -> float:
    """Let one execution end at any time between two looks; return the seconds until that is seen."""
    ended, pause = await count(executor, handles), executor.poll_interval
    early = uniform(0, pause)  # noqa: S311 - a moment
    await asyncio.sleep(early)
    await call(socket, do="end", count=1)
    began = perf_counter()
    await asyncio.sleep(pause - early)
    while True:
        if await count(executor, handles) > ended:
            return perf_counter() - began
        await asyncio.sleep(pause)


async def main() -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-cloud-run-") as directory:
        socket = Path(directory) / "google"
        async with running_cloud_run(socket, "--hollow") as there:
            usual = {"POLL_INTERVAL": "3", "LOG_RATE": "0.8", "LOG_SETTLE": "5"}
            environment = {**there, **{f"RUNMESH_CLOUD_RUN_{name}": value for name, value in usual.items()}}
            async with Executor(Site("bench", "default", "worker", environment, Path(directory))) as executor:
                figures = await measure(executor, socket)
    shown(figures)


if __name__ == "__main__":
    asyncio.run(main())

"""Thousands of Cloud Run jobs in flight on one worker's executor (`flight`), in a project that takes so many.

`python -m tests.bench.bench_cloud_run` prints the figures.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from random import uniform
from time import perf_counter
from typing import Any, Final

from runmesh.executor import Handle
from runmesh.executors.gcp_cloud_run import Config, Executor
from tests.bench.flight import PROBES, count, fly
from tests.emulators.cloud_run import CONFIG
from tests.emulators.running import running_cloud_run
from tests.emulators.serving import call
from tests.executors.tasks import task_of

JOBS: Final = int(os.environ.get("BENCH_CLOUD_RUN_JOBS", "2000"))


async def delays(executor: Any, socket: Path, handles: Sequence[Handle]) -> list[float]:
    """Let some executions end, one after another; return the seconds until each is seen."""
    return [await _delay(executor, socket, handles) for _ in range(PROBES)]


async def _delay(executor: Any, socket: Path, handles: Sequence[Handle]) -> float:
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
    tasks = [task_of(Config(**CONFIG), "true", key=f"job{n}") for n in range(JOBS)]
    usual = {"POLL_INTERVAL": "3", "LOG_RATE": "0.8", "LOG_SETTLE": "5"}
    rates = {f"RUNMESH_CLOUD_RUN_{name}": value for name, value in usual.items()}
    await fly(running_cloud_run, Executor, tasks, "job", rates, delays=delays)


if __name__ == "__main__":
    asyncio.run(main())

"""Thousands of ECS tasks in flight on one worker's executor (`flight`).

`python -m tests.bench.bench_ecs` prints the figures.
"""

import asyncio
import os
from typing import Final

from runmesh.executors.ecs import Config, Executor
from tests.bench.flight import fly
from tests.emulators.ecs import CONFIG
from tests.emulators.running import running_ecs
from tests.executors.tasks import task_of

TASKS: Final = int(os.environ.get("BENCH_ECS_TASKS", "2000"))


async def main() -> None:
    """Measure, and print the figures."""
    tasks = [task_of(Config(**CONFIG), "true", key=f"task{n}") for n in range(TASKS)]
    await fly(running_ecs, Executor, tasks, "task", {"RUNMESH_ECS_POLL_INTERVAL": "2"})


if __name__ == "__main__":
    asyncio.run(main())

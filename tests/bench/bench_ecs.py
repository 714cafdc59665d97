"""Thousands of ECS tasks in flight on one worker's executor (`flight`).

`python -m tests.bench.bench_ecs` prints the figures.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from runmesh.executor import Site
from runmesh.executors.ecs import Config, Executor
from tests.bench.flight import measured, shown
from tests.emulators.ecs import CONFIG
from tests.emulators.running import running_ecs
from tests.executors.tasks import task_of

TASKS: Final = int(os.environ.get("BENCH_ECS_TASKS", "2000"))


async def main() -> None:
    """Measure, and print the figures."""
    tasks = [task_of(Config(**CONFIG), "true", key=f"task{n}") for n in range(TASKS)]
    with tempfile.TemporaryDirectory(prefix="bench-ecs-") as directory:
        socket = Path(directory) / "aws"
        async with running_ecs(socket, "--hollow") as there:
            environment = {**there, "RUNMESH_ECS_POLL_INTERVAL": "2"}
            async with Executor(Site("bench", "default", "worker", environment, Path(directory))) as executor:
                figures = await measured(executor, socket, tasks, "task")
    shown(figures)


if __name__ == "__main__":
    asyncio.run(main())

"""Thousands of container groups in flight on one worker's executor (`flight`).

`python -m tests.bench.bench_azure` prints the figures.
"""

import asyncio
import os
from typing import Final

from runmesh.executors.azure_container_instance import Config, Executor
from tests.bench.flight import fly
from tests.emulators.azure import CONFIG
from tests.emulators.running import running_azure
from tests.executors.tasks import task_of

GROUPS: Final = int(os.environ.get("BENCH_AZURE_GROUPS", "2000"))


async def main() -> None:
    """Measure, and print the figures."""
    tasks = [task_of(Config(**CONFIG), "true", key=f"job{n}") for n in range(GROUPS)]
    usual = {"POLL_INTERVAL": "2", "READ_RATE": "15", "LOG_RATE": "5"}
    rates = {f"RUNMESH_AZURE_{name}": value for name, value in usual.items()}
    await fly(running_azure, Executor, tasks, "group", rates)


if __name__ == "__main__":
    asyncio.run(main())

"""A worker of a few lines, run as a program so that tests may kill it.

    python -m tests.executors.worker_to_kill DIRECTORY LEASE GRACE SCRIPT

It runs SCRIPT with sh as one local job, and then beats for ever, unless LEASE is 0.
"""

import asyncio
import os
import sys
from pathlib import Path

from runmesh.executor import Site
from runmesh.executors.local_python import Config, Executor
from tests.executors.tasks import task_of


async def main(directory: Path, lease: float, grace: float, script: str) -> None:
    task = task_of(Config(kill_grace=grace), "sh", "-c", script, environment={"PIDS": str(directory)})
    async with Executor(Site("mesh", "default", "worker-1", dict(os.environ), directory / "site")) as executor:
        if lease:
            await executor.beat(lease)
        await executor.submit(task)
        while True:
            if lease:
                await executor.beat(lease)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))

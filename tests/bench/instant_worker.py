"""A worker process whose jobs end the moment they start, or never: what is measured with it is the mesh itself.

Everything is the real worker's but the executor, a platform in memory (`tests/executors/scripted.py`).
"""

import os

import typer

from runmesh import settings, subjects
from runmesh.bus import Bus
from runmesh.cli.exits import run_service
from runmesh.executors.local_python import Config
from runmesh.service import serve
from runmesh.worker import Worker
from tests.executors.scripted import Platform, Script, ToldExecutor

TYPE = "local_python"
"""Whose place it takes: what runs where no other executor is named."""


def main(*, forever: bool = False) -> None:
    """Work for the default pool until told to stop."""
    here = settings.load()
    jobs = Platform(only=Script(runs=None)) if forever else Platform()

    def worker(bus: Bus) -> Worker:
        name = f"instant-worker-{os.getpid()}"
        executor = ToldExecutor(jobs)
        return Worker(bus, executor, executor_type=TYPE, config_model=Config, settings=here, worker_id=name)

    needs = [(subjects.execute_stream(TYPE), subjects.execute_consumer(here.pool))]
    run_service(serve(f"executor {TYPE}", here, needs, worker))


if __name__ == "__main__":
    typer.run(main)

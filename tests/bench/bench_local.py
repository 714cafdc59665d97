"""A local pipeline of three blocks: what the mesh adds to each block, beside what the processes take alone.

Resolver and worker are processes of their own, as in production. Runs through the mesh alternate with the same
three commands, started by hand one after another with the worker's own argv, environment and directory, so that
whatever else the machine does burdens both alike. The mesh's time is that from a run's first `queued` fact to its
`completed` fact, by the facts' own stamps: claims, facts, log lines and the resolver's turns between the blocks are
all in it. `python -m tests.bench.bench_local` prints the medians, and where a block's time goes, for two kinds of
blocks: Python ones in our runtime, and ones whose interpreter is a shell script that sleeps. A Python start takes as
long as the machine lets it, and varies by more than the mesh adds; a sleep is always the same, so that column is the
exact one.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from runmesh.bus import connect, provision
from runmesh.client import Mesh
from runmesh.embedded import embedded
from runmesh.events import RunFact, TaskFact
from runmesh.executor import Task
from runmesh.executors.local import launch
from runmesh.resolver import explain
from runmesh.resolver.command import fill
from tests.bench.bench_resolver import service
from tests.shop import PROJECT, write_pipeline, write_project

RUNS: Final = int(os.environ.get("BENCH_LOCAL_RUNS", "40"))
WARM_UP: Final = 3
PIPELINES: Final = ("python", "sleep")
SLEEP: Final = "#!/bin/sh\nexec sleep 0.05\n"
BLOCKS: Final = ("first", "second", "third")
STAGES: Final = {
    "queued to submitted": ("queued", "submitted"),
    "submitted to running": ("submitted", "running"),
    "running to completed": ("running", "completed"),
}
Command = tuple[list[str], dict[str, str], str]
"""What a process is started with: argv, environment, directory."""


def commands(project: Path, pipeline: str) -> list[Command]:
    """Return what the worker starts for each block of a run."""
    explained = explain(project, pipeline, environment=os.environ).blocks
    return [_command(block, explained[block].command, explained[block].config) for block in BLOCKS]


def _command(block: str, argv: Sequence[str], config: Mapping[str, Any]) -> Command:
    task = Task(
        key=f"direct-{block}",
        run="direct",
        block=block,
        attempt=1,
        resubmission=0,
        project=PROJECT,
        pipeline="direct",
        command=fill(argv, run="direct", key=f"direct-{block}", attempt=1),
        environment={},
        config=launch.Config(**config),
    )
    return launch.command(task), launch.environment(task, os.environ), str(launch.directory(task))


async def alone(started: Iterable[Command]) -> float:
    """Run processes one after another; return the milliseconds that all of them took."""
    began = perf_counter()
    for argv, environment, directory in started:
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment, cwd=directory, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            raise RuntimeError(f"{argv} failed")
    return (perf_counter() - began) * 1000


async def meshed(mesh: Mesh, pipeline: str) -> dict[str, float]:
    """Run the pipeline; return the milliseconds of the whole run, and of a block's stages on average."""
    run = await mesh.submit(pipeline, project=PROJECT)
    blocks: dict[str, dict[str, float]] = {block: {} for block in BLOCKS}
    ended = 0.0
    async for fact in mesh.watch(run):
        moment = fact.at.timestamp() * 1000
        match fact:
            case TaskFact():
                blocks[fact.block].setdefault(fact.state, moment)
            case RunFact():
                ended = moment
    return {"run": ended - blocks[BLOCKS[0]]["queued"], **_stages(blocks, ended)}


def _stages(blocks: Mapping[str, Mapping[str, float]], ended: float) -> dict[str, float]:
    found = {
        name: sum(seen[last] - seen[first] for seen in blocks.values()) / len(blocks)
        for name, (first, last) in STAGES.items()
    }
    afterwards = [*(blocks[block]["queued"] for block in BLOCKS[1:]), ended]
    gaps = [after - blocks[block]["completed"] for block, after in zip(BLOCKS, afterwards, strict=True)]
    return {**found, "completed to the next": sum(gaps) / len(gaps)}


class Measured(NamedTuple):
    """What the processes took alone, and what the runs took, each beside the other."""

    alone: list[float]
    meshed: list[dict[str, float]]

    def table(self) -> dict[str, float]:
        """Return the figures of one block."""
        count, pairs = len(BLOCKS), zip(self.meshed, self.alone, strict=True)
        return {
            "process alone": median(self.alone) / count,
            "through the mesh": median(seen["run"] for seen in self.meshed) / count,
            "overhead": median(seen["run"] - took for seen, took in pairs) / count,
            **{stage: median(seen[stage] for seen in self.meshed) for stage in (*STAGES, "completed to the next")},
        }


def projects_of_bench(directory: Path) -> Path:
    """Write the project, and return its directory."""
    project = write_project(directory / PROJECT)
    script = project / "sleep.sh"
    script.write_text(SLEEP)
    script.chmod(0o700)
    graph = {block: BLOCKS[:number][-1:] for number, block in enumerate(BLOCKS)}
    write_pipeline(project, "python", graph)
    write_pipeline(project, "sleep", graph, block={"executor_config": {"python": str(script)}})
    return project


async def measure(mesh: Mesh, project: Path, pipeline: str) -> Measured:
    """Take turns: by hand, through the mesh."""
    started, measured = commands(project, pipeline), Measured([], [])
    for _ in range(WARM_UP + RUNS):
        measured.alone.append(await alone(started))
        measured.meshed.append(await meshed(mesh, pipeline))
    return Measured(measured.alone[WARM_UP:], measured.meshed[WARM_UP:])


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        project = projects_of_bench(projects)
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus)
            async with service(server, projects, "resolver"), service(server, projects, "executor", "local_python"):
                figures = {pipeline: (await measure(Mesh(bus), project, pipeline)).table() for pipeline in PIPELINES}
    title = f"{RUNS} runs of {len(BLOCKS)} local blocks, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    table = Table("milliseconds for each block, p50", *PIPELINES, title=title)
    for name in figures[PIPELINES[0]]:
        table.add_row(name, *(f"{figures[pipeline][name]:.1f}" for pipeline in PIPELINES))
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

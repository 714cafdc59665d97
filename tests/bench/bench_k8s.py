"""Thousands of Jobs in flight on one Kubernetes worker: its memory, its calls, and from a Job's end to its fact.

Resolver and worker are processes of their own, as in production, and so is the cluster (`tests/emulators/k8s.py`),
whose pods are hollow: they run when they are created, and end when they are told to. All runs, of one block each, are
asked for at once. When all their Jobs run, some of them end one after another, for the delay on a quiet mesh: from the
moment at which the cluster says that a Job is complete to the stamp of its `completed` fact. Then all others end.

The worker may make BENCH_K8S_QPS (1000) calls a second here, so that what is measured is not its limit (50 unless set).
`python -m tests.bench.bench_k8s` prints the figures.
"""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cloudevents import decode
from runmesh.embedded import embedded
from runmesh.events import TaskFact
from tests.bench.bench_resolver import service
from tests.bench.memory import resident
from tests.emulators.running import running_cluster
from tests.emulators.serving import call
from tests.eventually import eventually
from tests.shop import PROJECT, write_pipeline, write_project

JOBS: Final = int(os.environ.get("BENCH_K8S_JOBS", "5000"))
QUIET: Final = min(100, JOBS)
"""Jobs that end one after another."""
TYPE: Final = "k8s"
REQUEST: Final = b'{"pipeline":"one","executor_type":"k8s"}'
_PAUSE: Final = 0.1
_PATIENCE: Final = 900.0


class Bench:
    """One worker, one cluster, and what is asked of both."""

    def __init__(self, bus: Bus, socket: Path, worker: int) -> None:
        self._bus, self._socket, self._worker = bus, socket, worker

    async def measure(self) -> dict[str, str]:
        """Run everything; return the figures."""
        empty = resident(self._worker)
        began = perf_counter()
        await asyncio.gather(*(self._bus.publish(subjects.request("run", PROJECT), REQUEST) for _ in range(JOBS)))
        await self._until("running", JOBS)
        started = perf_counter() - began
        full = resident(self._worker)
        idle = await self._calls()
        await asyncio.sleep(10)
        idle = await self._calls() - idle
        for _ in range(QUIET):
            await call(self._socket, do="end", count=1)
            await asyncio.sleep(_PAUSE)
        await self._told(QUIET)
        began = perf_counter()
        await call(self._socket, do="end", count=JOBS)
        await self._told(JOBS)
        ended = perf_counter() - began
        delays = await self._delays()
        await eventually(self._empty, within=_PATIENCE, every=1.0)
        calls = await self._calls()
        return {
            "jobs in flight": f"{JOBS:,}",
            "worker's memory, empty and full": f"{empty:.0f} and {full:.0f} MiB",
            "... for each job": f"{(full - empty) * 1024 / JOBS:.1f} KiB",
            "jobs started": f"{JOBS / started:.0f} a second",
            "jobs ended, of all that ended at once": f"{(JOBS - QUIET) / ended:.0f} a second",
            "end to fact, one after another": _spread(delays[:QUIET]),
            "end to fact, all at once": _spread(delays[QUIET:]),
            "logs that were cut": str(await self._cut()),
            **{f"calls for each job: {' '.join(what)}": f"{count / JOBS:.4f}" for what, count in calls.most_common()},
            "calls in 10 s in which nothing happens": str(idle.total()),
        }

    async def _until(self, what: str, count: int) -> None:
        async def reached() -> bool:
            return int((await call(self._socket, do=what))["count"]) >= count

        await eventually(reached, within=_PATIENCE, every=0.5)

    async def _told(self, count: int) -> None:
        """Wait until so many tasks have completed."""
        terminal = f"mesh.task.completed.{TYPE}.>"

        async def all_told() -> bool:
            return sum([1 async for _ in self._bus.replay(subjects.FACTS, terminal)]) >= count

        await eventually(all_told, within=_PATIENCE, every=0.5)

    async def _cut(self) -> int:
        """Count the Jobs whose log was not read in time: hollow pods print nothing, so every line says so."""
        return sum([1 async for _ in self._bus.replay(subjects.LOGS, f"mesh.log.{TYPE}.>")])

    async def _empty(self) -> bool:
        return not (await call(self._socket, do="jobs"))["jobs"]

    async def _calls(self) -> Counter[tuple[str, str]]:
        return Counter({(verb, what): count for verb, what, count in (await call(self._socket, do="calls"))["calls"]})

    async def _delays(self) -> list[float]:
        """Return the milliseconds from each Job's end to its fact, in the order of the ends."""
        ended = (await call(self._socket, do="ended"))["ended"]
        told: dict[str, float] = {}
        async for message in self._bus.replay(subjects.FACTS, f"mesh.task.completed.{TYPE}.>"):
            fact = decode(TaskFact, message.headers, message.data)
            told[str(fact.handle).split("/")[1]] = fact.at.timestamp()
        return [(told[name] - at) * 1000 for name, at in sorted(ended.items(), key=lambda item: item[1])]


def _spread(delays: list[float]) -> str:
    found = sorted(delays)
    if not found:
        return "none"
    return f"p50 {found[len(found) // 2]:.0f} ms, p99 {found[int(len(found) * 0.99)]:.0f} ms"


@asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    """Run a mesh on a cluster for the length of the block."""
    project = write_project(directory / PROJECT, k8s_executor_config={"image": "hollow", "shared": True})
    write_pipeline(project, "one", {"block": []})
    socket = directory / "cluster"
    async with running_cluster(socket, "--hollow") as there, embedded(directory / "nats") as server:
        os.environ.update(there, RUNMESH_K8S_QPS=os.environ.get("BENCH_K8S_QPS", "1000"), RUNMESH_ALLOW_OVERRIDES="1")
        async with connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus, pools={TYPE: ("default",), "local_python": ("default",)})
            async with (
                service(server, directory, "resolver"),
                service(server, directory, "executor", TYPE) as worker,
            ):
                beats = bus.bucket(subjects.WORKERS)
                await eventually(lambda: beats.keys(f"{TYPE}.>"), within=30)
                yield Bench(bus, socket, worker.pid)


async def main() -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="bench-k8s-") as directory:
        async with bench(Path(directory)) as found:
            figures = await found.measure()
    table = Table(box=None, show_header=False)
    for name, figure in figures.items():
        table.add_row(name, figure)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

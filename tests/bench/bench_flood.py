"""A flood of requests: what every service holds in memory, and how long somebody else's single request waits.

One pipeline of one project is requested so many times at once. Resolver and worker are processes of their own; the
worker's jobs end at once (`instant_worker.py`). When all is queued, another project asks for one run. The queues are
first come, first served, so it waits behind what is left of the flood; where the noisy pipeline limits its own runs
(`concurrency_config`), only its requests are in the way, not its tasks. `python -m tests.bench.bench_flood` prints
both.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.client import Mesh
from runmesh.embedded import Server, embedded
from runmesh.events import RunFact
from tests.bench.bench_resolver import fresh, service, service_environment
from tests.bench.memory import peaks, pid_of
from tests.shop import PROJECT, write_pipeline, write_project

FLOOD: Final = int(os.environ.get("BENCH_FLOOD", "100000"))
LIMITED: Final = int(os.environ.get("BENCH_FLOOD_LIMITED", "5000"))
AT_ONCE: Final = 50
QUIET: Final = "quiet"
ALONE: Final = 20


class Wait(NamedTuple):
    """How long one request took, in seconds from its publishing."""

    accepted: float
    completed: float


class Flood(NamedTuple):
    """What one flood did."""

    queued: float
    worked_off: float
    alone: Wait
    behind: Wait
    peaks: dict[str, float]


@asynccontextmanager
async def mesh(server: Server, projects: Path) -> AsyncIterator[dict[str, int]]:
    """Run a resolver and a worker whose jobs end at once; yield the services' process ids."""
    environment = service_environment(server, projects)
    async with service(server, projects, "resolver") as resolver:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.instant_worker", env=environment
        )
        try:
            yield {"resolver": resolver.pid, "worker": worker.pid, "nats-server": pid_of(server)}
        finally:
            worker.terminate()
            await worker.wait()


async def single(client: Mesh) -> Wait:
    """Ask for one run of the quiet pipeline, and see it through."""
    began, accepted = perf_counter(), 0.0
    run = await client.submit("one", project=QUIET)
    async for fact in client.watch(run):
        if isinstance(fact, RunFact) and not accepted:
            accepted = perf_counter() - began
    return Wait(accepted, perf_counter() - began)


async def flood(bus: Bus, server: Server, projects: Path, pipeline: str, count: int) -> Flood:
    """Flood, ask for one run behind it, and wait until all is done."""
    client = Mesh(bus)
    async with mesh(server, projects) as processes, peaks(processes) as most:
        alone = sorted([await single(client) for _ in range(ALONE)])[ALONE // 2]
        began = perf_counter()
        body = b'{"pipeline":"%s"}' % pipeline.encode()
        await asyncio.gather(*(bus.post(subjects.request("run", PROJECT), body, timeout=600.0) for _ in range(count)))
        queued = perf_counter() - began
        behind = await single(client)
        while await bus.bucket(subjects.RUNS).keys(subjects.active("*")):  # noqa: ASYNC110 - on the server
            await asyncio.sleep(0.5)
        return Flood(queued, perf_counter() - began, alone, behind, most)


def _shown(table: Table, name: str, count: int, seen: Flood) -> None:
    table.add_section()
    table.add_row(f"[b]{count:,} requests of {name}", "")
    table.add_row("all queued after; worked off after", f"{seen.queued:.1f} s; {seen.worked_off:.1f} s")
    table.add_row("single request alone: accepted; completed", _times(seen.alone))
    table.add_row("single request behind them: accepted; completed", _times(seen.behind))
    for process, most in seen.peaks.items():
        table.add_row(f"peak memory: {process}", f"{most:.0f} MiB")


def _times(wait: Wait) -> str:
    return "; ".join(f"{seconds * 1000:,.0f} ms" for seconds in wait)


async def main() -> None:
    """Measure and print."""
    table = Table(
        "flood", "value", title=f"one resolver, one worker, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        project = write_project(projects / PROJECT)
        write_pipeline(project, "one", {"only": []})
        write_pipeline(project, "limited", {"only": []}, concurrency_config={"pipeline_run_limit": AT_ONCE})
        write_pipeline(write_project(projects / QUIET), "one", {"only": []})
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus)
            _shown(table, "a pipeline without limits", FLOOD, await flood(bus, server, projects, "one", FLOOD))
            await fresh(bus)
            seen = await flood(bus, server, projects, "limited", LIMITED)
            _shown(table, f"a pipeline of {AT_ONCE} runs at once", LIMITED, seen)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

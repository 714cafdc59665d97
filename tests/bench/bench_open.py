"""Ten thousand open runs: what every service holds, and how soon a new one works with all that.

Resolver and worker are processes of their own; the jobs never end (`instant_worker.py`), so every run stays open with
one task running; as many others wait for a worker that isn't there. Then another resolver starts. Its first request is
one that comes at once, and it has looked through all runs when its sweep has put back every command of those that wait,
whose queue was emptied meanwhile.
`python -m tests.bench.bench_open` prints both.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

from pydantic_core import from_json
from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.client import Mesh
from runmesh.embedded import Server, embedded
from runmesh.events import RunFact
from tests.bench.bench_resolver import service, service_environment
from tests.bench.memory import pid_of, resident
from tests.shop import PROJECT, write_pipeline, write_project

OPEN: Final = int(os.environ.get("BENCH_OPEN", "10000"))
LEASE: Final = 10
LOCAL: Final = "local_python"
FAR: Final = subjects.execute_stream("k8s")


@asynccontextmanager
async def worker(server: Server, projects: Path) -> AsyncIterator[int]:
    """Run a worker whose jobs never end."""
    command = (sys.executable, "-m", "tests.bench.instant_worker", "--forever")
    process = await asyncio.create_subprocess_exec(*command, env=service_environment(server, projects))
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()


async def until(check: Callable[[], Awaitable[bool]]) -> float:
    """Wait for something, and return the seconds that it took."""
    began = perf_counter()
    while not await check():  # noqa: ASYNC110 - on the server
        await asyncio.sleep(0.05)
    return perf_counter() - began


async def ask(bus: Bus, pipeline: str, count: int) -> None:
    """Ask for so many runs at once."""
    body = b'{"pipeline":"%s"}' % pipeline.encode()
    await asyncio.gather(*(bus.post(subjects.request("run", PROJECT), body, timeout=600.0) for _ in range(count)))


async def held(bus: Bus, pid: int) -> int:
    """Return how many tasks the worker of a process says that it holds, which it does with every beat."""
    key = subjects.worker(LOCAL, subjects.DEFAULT_POOL, f"instant-worker-{pid}")
    entry = await bus.bucket(subjects.WORKERS).get(key)
    held: int = from_json(entry.value)["held"] if entry else 0
    return held


def all_held_by(bus: Bus, pid: int) -> Callable[[], Awaitable[bool]]:
    """Return what asks whether one worker holds all tasks."""

    async def check() -> bool:
        return await held(bus, pid) == OPEN

    return check


async def accepted(client: Mesh) -> float:
    """Ask for one run; return the seconds until it is accepted."""
    began = perf_counter()
    run = await client.submit("far", project=PROJECT)
    async for fact in client.watch(run):
        if isinstance(fact, RunFact):
            break
    return perf_counter() - began


async def measure(bus: Bus, server: Server, projects: Path, table: Table) -> None:
    """Open the runs, then replace the resolver."""
    client, nats = Mesh(bus), pid_of(server)

    async def all_queued() -> bool:
        return (await bus.stream_info(FAR)).messages >= OPEN

    async with service(server, projects, "resolver") as resolver, worker(server, projects) as pid:
        await ask(bus, "one", OPEN)
        table.add_row("all runs open and their tasks running after", f"{await until(all_held_by(bus, pid)):.1f} s")
        await ask(bus, "far", OPEN)
        await until(all_queued)
        table.add_row(f"memory: resolver of {2 * OPEN:,} open runs", f"{resident(resolver.pid):.0f} MiB")
        table.add_row(f"memory: worker that holds {OPEN:,} tasks", f"{resident(pid):.0f} MiB")
        table.add_row("memory: nats-server", f"{resident(nats):.0f} MiB")
    await bus.api(f"STREAM.PURGE.{FAR}")
    began = perf_counter()
    async with service(server, projects, "resolver") as resolver:
        table.add_row("next resolver: first request accepted after", f"{await accepted(client):.2f} s")
        await until(all_queued)
        table.add_row(f"next resolver: all {2 * OPEN:,} runs looked through after", f"{perf_counter() - began:.0f} s")
        table.add_row("a request meanwhile, or just after", f"{await accepted(client) * 1000:.0f} ms")
        table.add_row("memory: next resolver", f"{resident(resolver.pid):.0f} MiB")


async def main() -> None:
    """Measure and print."""
    title = f"{OPEN:,} open runs that run, {OPEN:,} that wait, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    table = Table("figure", "value", title=title)
    os.environ["RUNMESH_ACK_WAIT"] = str(LEASE)  # of the services
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        project = write_project(projects / PROJECT)
        write_pipeline(project, "one", {"only": []})
        write_pipeline(project, "far", {"remote": []}, executor_type="k8s")
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus, ack_wait=LEASE)
            await measure(bus, server, projects, table)
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

"""One resolver: how soon a request becomes an execute event, and how many of them a second.

The resolver is a process of its own, as in production. Latency is measured from the publish of a request to the
arrival of its execute event at a waiting consumer. The burst is stored before the resolver starts, so that nothing
but the resolver (and the server) works while it is measured; beside it, on the same server, runs the fastest raw
nats-py loop (`raw.py`).
"""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server, embedded
from tests.bench.raw import pipelined
from tests.shop import PROJECT, write_pipeline, write_project

BURST = int(os.environ.get("BENCH_BURST", "100000"))
SINGLES = int(os.environ.get("BENCH_SINGLES", "1000"))
LOCAL, POOL = subjects.execute_stream("local_python"), subjects.execute_consumer("default")


def service_environment(server: Server, projects: Path) -> dict[str, str]:
    """Return what a service process is told of the mesh that it belongs to."""
    return {
        **os.environ,
        "RUNMESH_NATS_URL": server.url,
        "RUNMESH_NATS_TOKEN": server.token,
        "RUNMESH_PROJECTS_DIR": str(projects),
        "RUNMESH_STATE_DIR": str(projects / ".runmesh"),
        "RUNMESH_LOG_LEVEL": "warning",
    }


@asynccontextmanager
async def service(server: Server, projects: Path, *command: str) -> AsyncIterator[Process]:
    """Run `python -m runmesh COMMAND` as a process of its own."""
    environment = service_environment(server, projects)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "runmesh", *command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def latencies(bus: Bus, count: int) -> list[float]:
    """Return, in milliseconds and sorted, how long single requests took to become execute events."""
    taken = []
    async with bus.consume(LOCAL, POOL, slots=10) as pump:
        for _ in range(count):
            began = perf_counter()
            await bus.publish(subjects.request("run", PROJECT), b'{"pipeline":"one"}')
            message = await anext(pump)
            taken.append((perf_counter() - began) * 1000)
            await message.ack()
    return sorted(taken)


async def burst(bus: Bus, server: Server, projects: Path, count: int) -> tuple[float, float]:
    """Return requests dispatched a second and messages stored a second, by one resolver that starts on a full queue."""
    requests = (bus.post(subjects.request("run", PROJECT), b'{"pipeline":"one"}') for _ in range(count))
    await asyncio.gather(*requests)
    before = await _written(bus)
    async with service(server, projects, "resolver"):
        while (await bus.stream_info(LOCAL)).messages == 0:  # noqa: ASYNC110 - measured from the first one
            await asyncio.sleep(0.001)
        began = perf_counter()
        while (await bus.stream_info(LOCAL)).messages < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        seconds = perf_counter() - began
        written = await _written(bus) - before
    return count / seconds, written / seconds


async def _written(bus: Bus) -> int:
    streams = [LOCAL, subjects.FACTS, f"KV_{subjects.RUNS}"]
    return sum([(await bus.stream_info(stream)).last for stream in streams])


async def fresh(bus: Bus) -> None:
    """Leave nothing of what was measured before."""
    names = (await bus.api("STREAM.NAMES"))["streams"]
    await asyncio.gather(*(bus.api(f"STREAM.DELETE.{name}") for name in names or ()))
    await provision(bus)


async def baseline(bus: Bus, server: Server, count: int) -> float:
    """Return what the raw loop stores a second."""
    await asyncio.gather(*(bus.post(subjects.request("run", PROJECT), b"x" * 512) for _ in range(count)))
    source = (subjects.REQUESTS, subjects.RESOLVER)
    return await pipelined(server.url, server.token, source, "mesh.run.accepted.shop.one", count)


async def main() -> None:
    """Measure and print."""
    table = Table("figure", "value", title=f"one resolver, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        write_pipeline(write_project(projects / PROJECT), "one", {"only": []})
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus)
            async with service(server, projects, "resolver"):
                await latencies(bus, 50)
                taken = await latencies(bus, SINGLES)
            table.add_row("request to execute event, p50", f"{taken[len(taken) // 2]:.2f} ms")
            table.add_row("request to execute event, p99", f"{taken[len(taken) * 99 // 100]:.2f} ms")
            await fresh(bus)
            raw = await baseline(bus, server, min(BURST, 50_000))
            await fresh(bus)
            rate, stored = await burst(bus, server, projects, BURST)
            table.add_row(f"burst of {BURST:,}: dispatched", f"{rate:,.0f} requests/s")
            table.add_row("burst: stored", f"{stored:,.0f} messages/s")
            table.add_row("raw nats-py loop: stored", f"{raw:,.0f} messages/s")
            table.add_row("ratio", f"{stored / raw:.2f}")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

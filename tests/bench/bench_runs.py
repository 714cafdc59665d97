"""Whole runs a second: from a request to the run's terminal fact, through one resolver and one worker.

Both are processes of their own, as in production; the worker's jobs end the moment they start (`instant_worker.py`),
so what is measured is the mesh. All requests are sent at once. Beside it, on the same server, runs the fastest raw
nats-py loop (`raw.py`): the ratio compares what both store a second, since a run of one block is some twenty stored
messages. `python -m tests.bench.bench_runs` prints both, for single blocks and for chains.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server, embedded
from tests.bench.bench_resolver import LOCAL, baseline, fresh, service, service_environment
from tests.shop import PROJECT, write_pipeline, write_project

BLOCKS: Final = int(os.environ.get("BENCH_RUN_BLOCKS", "5000"))
"""Of all runs of one measurement together."""
CHAIN: Final = 10
WARM_UP: Final = 50
ENDED: Final = "bench-ended"
"""A consumer of the runs' terminal facts that nobody reads: the server counts what is pending."""


class Rate(NamedTuple):
    """What one measurement gave, a second."""

    runs: float
    stored: float


@asynccontextmanager
async def mesh(server: Server, projects: Path) -> AsyncIterator[None]:
    """Run a resolver, and a worker whose jobs end at once."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(service(server, projects, "resolver"))
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.instant_worker", env=service_environment(server, projects)
        )
        try:
            yield
        finally:
            worker.terminate()
            await worker.wait()


async def measure(bus: Bus, pipeline: str, count: int) -> Rate:
    """Send requests for so many runs, and wait until the last of them has ended."""
    ended, written, began = await _ended(bus), await _written(bus), perf_counter()
    body = b'{"pipeline":"%s"}' % pipeline.encode()
    await asyncio.gather(*(bus.post(subjects.request("run", PROJECT), body) for _ in range(count)))
    while await _ended(bus) < ended + count:  # noqa: ASYNC110 - what is waited for is on the server
        await asyncio.sleep(0.01)
    seconds = perf_counter() - began
    return Rate(count / seconds, (await _written(bus) - written) / seconds)


async def _ended(bus: Bus) -> int:
    return (await bus.consumer_info(subjects.FACTS, ENDED)).pending


async def _written(bus: Bus) -> int:
    buckets = (f"KV_{bucket}" for bucket in (subjects.RUNS, subjects.CLAIMS))
    streams = (subjects.REQUESTS, LOCAL, subjects.FACTS, *buckets)
    return sum([(await bus.stream_info(stream)).last for stream in streams])


async def _count_ended(bus: Bus) -> None:
    config = {"durable_name": ENDED, "ack_policy": "explicit", "filter_subject": "mesh.run.completed.>"}
    body = {"stream_name": subjects.FACTS, "config": config}
    await bus.api(f"CONSUMER.DURABLE.CREATE.{subjects.FACTS}.{ENDED}", body)


async def compare() -> tuple[dict[str, Rate], float]:
    """Return the rates by what was run, and what the raw loop stores a second."""
    blocks = [f"block_{number}" for number in range(CHAIN)]
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        project = write_project(projects / PROJECT)
        write_pipeline(project, "one", {"only": []})
        write_pipeline(project, "chain", {blocks[0]: [], **{below: [above] for above, below in pairwise(blocks)}})
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus)
            raw = await baseline(bus, server, 2 * BLOCKS)
            await fresh(bus)
            await _count_ended(bus)
            async with mesh(server, projects):
                await measure(bus, "chain", WARM_UP)
                rates = {
                    "of one block": await measure(bus, "one", BLOCKS),
                    f"of a chain of {CHAIN} blocks": await measure(bus, "chain", BLOCKS // CHAIN),
                }
    return rates, raw


async def main() -> None:
    """Measure and print."""
    rates, raw = await compare()
    title = f"one resolver, one worker, {BLOCKS:,} blocks, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    table = Table("whole runs", "runs/s", "stored messages/s", "ratio to raw", title=title)
    for name, rate in rates.items():
        table.add_row(name, f"{rate.runs:,.0f}", f"{rate.stored:,.0f}", f"{rate.stored / raw:.2f}")
    table.add_row("raw nats-py loop", "", f"{raw:,.0f}", "1.00")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

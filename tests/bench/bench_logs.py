"""A block that prints 100 MB: what that costs the block, the worker, its disk and the LOGS stream.

Resolver and worker are processes of their own. The same program prints into the mesh, and into /dev/null; how long it
took it notes itself. The worker takes from the block's machine what its reading costs, so on a machine with few cores
that is in the factor. `python -m tests.bench.bench_logs` prints both.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.client import Mesh
from runmesh.embedded import embedded
from tests.bench.bench_resolver import service
from tests.bench.memory import peaks
from tests.shop import PROJECT, write_pipeline, write_project

MEGABYTES: Final = int(os.environ.get("BENCH_LOG_MB", "100"))
TIMES: Final = int(os.environ.get("BENCH_LOG_RUNS", "5"))
PROGRAM: Final = """
import sys, time
out = open(sys.argv[1], "w") if sys.argv[1] != "-" else sys.stdout
began = time.perf_counter()
for number in range(int(sys.argv[3])):
    print(f"{number:>98}.", file=out)
out.flush()
open(sys.argv[2], "a").write(f"{time.perf_counter() - began}\\n")
"""


class Printed(NamedTuple):
    """What printing cost."""

    block: float
    """Seconds of the block itself."""
    run: float
    disk: float
    """The most on the worker's disk, in MiB."""


async def printed(client: Mesh, pipeline: str, noted: Path, state: Path) -> Printed:
    """Run a pipeline once, and look at the worker's disk meanwhile."""
    most, began = 0, perf_counter()
    waiting = asyncio.create_task(client.wait(await client.submit(pipeline, project=PROJECT)))
    while not waiting.done():
        most = max(most, _used(state))
        await asyncio.wait([waiting], timeout=0.02)
    if waiting.result().state != "completed":
        raise RuntimeError(waiting.result().reason)
    return Printed(_last(noted), perf_counter() - began, most / 2**20)


def _last(noted: Path) -> float:
    return float(noted.read_text().split()[-1])


def _used(state: Path) -> int:
    return sum(_blocks(path) for path in state.rglob("*.std*"))


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


async def stored(bus: Bus) -> tuple[int, int]:
    """Return messages and bytes in LOGS, as the server counts them."""
    info = await bus.stream_info(subjects.LOGS)
    return info.messages, info.bytes


async def main() -> None:
    """Measure and print."""
    table = Table(
        "figure", "value", title=f"{MEGABYTES} MB of output, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        project, program, lines = write_project(projects / PROJECT), projects / "program.py", MEGABYTES * 10_000
        program.write_text(PROGRAM)
        noted = {"-": projects / "loud", "/dev/null": projects / "silent"}
        for target, note in noted.items():
            command = [sys.executable, str(program), target, str(note), str(lines)]
            block = {"type": "command", "command": command}
            write_pipeline(project, note.name, {note.name: []}, block=block)
        async with embedded() as server, connect(server.url, name="bench", token=server.token) as bus:
            await provision(bus)
            client, state = Mesh(bus), projects / ".runmesh"
            async with (
                service(server, projects, "resolver"),
                service(server, projects, "executor", "local_python") as worker,
                peaks({"worker": worker.pid}) as most,
            ):
                seen: dict[str, list[Printed]] = {"loud": [], "silent": []}
                for _ in range(TIMES):
                    for name, note in zip(seen, noted.values(), strict=True):
                        seen[name].append(await printed(client, name, note, state))
            messages, size = await stored(bus)
    loud, silent = (median(each.block for each in of) for of in seen.values())
    table.add_row("block, printing into the mesh; into /dev/null", f"{loud:.2f} s; {silent:.2f} s")
    table.add_row("factor", f"{loud / silent:.2f}")
    table.add_row("whole run", f"{median(each.run for each in seen['loud']):.2f} s")
    table.add_row("most on the worker's disk", f"{max(each.disk for each in seen['loud']):.0f} MiB")
    table.add_row("stored in LOGS, per run", f"{messages / TIMES:,.0f} messages, {size / TIMES / 1e6:.1f} MB")
    table.add_row("peak memory: worker", f"{most['worker']:.0f} MiB")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

"""How long the native runtime takes for an empty block, from the start of its process to its end.

Beside it, in turns, a Python that does nothing: what the runtime can't be faster than. The environment is a job's, so
the bytecode of the first start serves the others. `python -m tests.bench.bench_start` prints both.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.bench_local import alone, commands, projects_of_bench

STARTS: Final = int(os.environ.get("BENCH_STARTS", "40"))


async def main() -> None:
    """Measure and print."""
    taken: dict[str, list[float]] = {"python -c pass": [], "runmesh-run, an empty block": []}
    with tempfile.TemporaryDirectory() as folder:
        block = commands(projects_of_bench(Path(folder)), "python")[0]
        nothing = ([block[0][0], "-c", "pass"], *block[1:])
        for _ in range(3):
            await alone([block])
        for _ in range(STARTS):
            for name, command in zip(taken, (nothing, block), strict=True):
                taken[name].append(await alone([command]))
    table = Table("start to exit, ms", "least", "p50", title=f"{STARTS} starts, {os.cpu_count()} cores")
    for name, found in taken.items():
        table.add_row(name, f"{min(found):.1f}", f"{median(found):.1f}")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

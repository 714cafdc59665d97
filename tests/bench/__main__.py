"""All benches, one after another: `python -m tests.bench`, or `make bench`. Takes about four minutes on two cores.

Each runs alone as well (`python -m tests.bench.bench_resolver`), and takes its sizes from the environment:

================  ======================  =======================================================
bench             variable (default)      of what
================  ======================  =======================================================
bench_bus         BENCH_N (20000)         messages through each loop
bench_resolver    BENCH_SINGLES (1000)    requests whose latency is measured, one after another
..                BENCH_BURST (100000)    requests of the burst
bench_runs        BENCH_RUN_BLOCKS (5000) blocks of all runs of one measurement together
bench_local       BENCH_LOCAL_RUNS (40)   runs of three local blocks each
bench_start       BENCH_STARTS (40)       starts of the runtime
================  ======================  =======================================================
"""

import asyncio
import os
from importlib import import_module

from rich.console import Console

BENCHES = ("bench_bus", "bench_resolver", "bench_runs", "bench_local", "bench_start")


def main() -> None:
    """Run them all, and say what else the machine was doing."""
    console = Console()
    for name in BENCHES:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        console.rule(f"{name} · {os.cpu_count()} cores, load {load}")
        asyncio.run(import_module(f"tests.bench.{name}").main())


if __name__ == "__main__":
    main()

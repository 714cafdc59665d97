"""All benches, one after another: `python -m tests.bench`, or `make bench`. Takes some ten minutes on two cores.

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
bench_flood       BENCH_FLOOD (100000)    requests of a flood
..                BENCH_FLOOD_LIMITED     requests of a flood of a pipeline that limits its runs (5000)
bench_open        BENCH_OPEN (10000)      runs that run, and as many that wait
bench_k8s         BENCH_K8S_JOBS (5000)   Jobs in flight on one Kubernetes worker
..                BENCH_K8S_QPS (1000)    calls a second that it may make
bench_logs        BENCH_LOG_MB (100)      megabytes that one block prints, BENCH_LOG_RUNS (5) times
================  ======================  =======================================================
"""

import asyncio
import os
from importlib import import_module

from rich.console import Console

BENCHES = (
    "bench_bus",
    "bench_resolver",
    "bench_runs",
    "bench_local",
    "bench_start",
    "bench_logs",
    "bench_flood",
    "bench_open",
    "bench_k8s",
)


def main() -> None:
    """Run them all, and say what else the machine was doing."""
    console = Console()
    for name in BENCHES:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        console.rule(f"{name} · {os.cpu_count()} cores, load {load}")
        asyncio.run(import_module(f"tests.bench.{name}").main())


if __name__ == "__main__":
    main()

"""A thousand blocks in one pipeline, and a mesh whose server dies in the middle."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runmesh import subjects
from runmesh.bus import Bus, Entry
from runmesh.events import FINAL_RUN_STATES, ExecuteTask
from runmesh.resolver.state import State
from tests.eventually import eventually
from tests.integration.test_cli_up import descendants, read, runmesh, started, up
from tests.shop import (
    answering,
    ask,
    commands,
    report,
    resolving,
    run_facts,
    settings_for,
    write_pipeline,
    write_project,
)

Graph = Mapping[str, Sequence[str]]


def chain(length: int = 1000) -> Graph:
    return {f"block_{n}": [f"block_{n - 1}"] if n else [] for n in range(length)}


def fan(width: int = 998) -> Graph:
    middle = {f"middle_{n}": ["root"] for n in range(width)}
    return {"root": [], **middle, "join": list(middle)}


def grid(columns: int = 25, rows: int = 40) -> Graph:
    """Every block waits for its neighbours above and to the left."""

    def above(column: int, row: int) -> list[str]:
        return [f"c{c}_r{r}" for c, r in ((column - 1, row), (column, row - 1)) if c >= 0 and r >= 0]

    return {f"c{column}_r{row}": above(column, row) for column in range(columns) for row in range(rows)}


def layers(depth: int = 10, width: int = 100) -> Graph:
    """Every block waits for all of the layer before: 90,000 edges."""
    return {
        f"l{layer}_{n}": [f"l{layer - 1}_{m}" for m in range(width)] if layer else []
        for layer in range(depth)
        for n in range(width)
    }


@dataclass
class Sizes:
    """The largest plan and state that were stored, in bytes."""

    largest: dict[str, int] = field(default_factory=dict)

    def see(self, kind: str, size: int) -> None:
        self.largest[kind] = max(size, self.largest.get(kind, 0))


@asynccontextmanager
async def watching(bus: Bus) -> AsyncIterator[Sizes]:
    """Measure every version of a run that is stored meanwhile."""
    sizes = Sizes()

    async def watch() -> None:
        async for entry in bus.bucket(subjects.RUNS).watch("run.>"):
            if isinstance(entry, Entry):
                sizes.see(entry.key.rpartition(".")[2], len(entry.value))

    task = asyncio.create_task(watch())
    try:
        yield sizes
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("graph", [chain, fan, grid, layers], ids=lambda graph: graph.__name__)
async def test_a_thousand_blocks_run_to_their_end_in_order(
    bus: Bus, tmp_path: Path, graph: Callable[[], Graph]
) -> None:
    blocks = graph()
    assert len(blocks) == 1000
    write_pipeline(write_project(tmp_path / "shop"), "big", blocks)
    # A sweep orders again what has ended while that isn't known yet: a worker's claim would tell.
    settings = settings_for(tmp_path, sweep_interval=60)
    async with resolving(bus, settings), answering(bus) as taken, watching(bus) as sizes:
        await ask(bus, "run", {"id": "big", "pipeline": "big"})
        await ended(bus, "big", within=200)
    assert_order(taken, blocks)
    facts = await run_facts(bus, "big")
    assert [str(fact.state) for fact in facts] == ["accepted", "running", "completed"]
    assert facts[-1].counts == {"completed": 1000}
    for kind in ("plan", "state"):
        print(f"{graph.__name__}: the {kind} takes {sizes.largest[kind]:,} bytes at most")  # noqa: T201 - shown by -rP
        assert sizes.largest[kind] < bus.payload_limit / 4


async def test_no_more_than_max_in_flight_are_out_at_once(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "big", fan())
    async with resolving(bus, settings_for(tmp_path, max_in_flight=50)):
        await ask(bus, "run", {"id": "big", "pipeline": "big"})
        (root,) = await eventually(lambda: commands(bus))
        await report(bus, root)
        for done in (0, 10, 40):
            await asyncio.gather(*(report(bus, command) for command in (await commands(bus))[1 : 1 + done]))
            await eventually(partial(are_out, bus, 50, ended=1 + done))


async def are_out(bus: Bus, out: int, *, ended: int) -> bool:
    """Whether so many tasks were ordered beyond those that have ended, by the stored state."""
    entry = await bus.bucket(subjects.RUNS).get(subjects.run_state("big"))
    assert entry
    tasks = State.decode(entry.value).tasks.values()
    counts = Counter(str(task.state) for task in tasks)
    assert counts["queued"] <= out
    return counts == {"queued": out, "completed": ended} and len(await commands(bus)) == out + ended


async def test_a_run_survives_the_death_of_the_server_in_its_middle(tmp_path: Path) -> None:
    project = write_project(tmp_path / "shop")
    blocks = {f"l{layer}_{n}": [f"l{layer - 1}_{n}"] if layer else [] for layer in range(5) for n in range(6)}
    write_pipeline(project, "small", blocks)
    watching = ("submit", "small", "--watch", "--id", "r1")
    async with up(tmp_path, "shop") as mesh, started(tmp_path, *watching) as following:
        assert following.stdout
        seen = []
        async for line in following.stdout:
            seen.append(line.decode())
            if "completed" in seen[-1] and "l2_" in seen[-1]:
                break
        os.kill(server_below(mesh.pid), signal.SIGKILL)
        async with asyncio.timeout(200):
            out, err = await following.communicate()
        assert following.returncode == 0, err.decode()
        told = "".join(seen) + out.decode()
        assert told.count("completed        run ") == 1
        shown = await eventually(partial(stored, tmp_path))
    assert (shown["state"], shown["counts"]) == ("completed", {"completed": 30})


async def stored(home: Path) -> dict[str, Any]:
    """What `show` says of the run; on a busy machine the server may not answer a person within her patience."""
    code, answer, error = await runmesh(home, "show", "r1", "--json")
    assert code == 0, error
    shown: dict[str, Any] = json.loads(answer)
    return shown


def server_below(pid: int) -> int:
    (server,) = [child for child in descendants(pid) if read(child, "comm") == "nats-server\n"]
    return server


async def ended(bus: Bus, run: str, within: float) -> None:
    async def final() -> bool:
        subject = subjects.run_fact("*", "shop", "*", run).replace("%2A", "*")
        last = await bus.last(subjects.FACTS, subject)
        return last is not None and last.subject.split(".")[2] in FINAL_RUN_STATES

    await eventually(final, within=within, every=0.1)


def assert_order(taken: Sequence[ExecuteTask], blocks: Graph) -> None:
    """Every block was ordered once, after all that are above it."""
    place = {command.block: n for n, command in enumerate(taken)}
    assert len(taken) == len(place) == len(blocks)
    assert all(place[above] < place[block] for block, upstream in blocks.items() for above in upstream)

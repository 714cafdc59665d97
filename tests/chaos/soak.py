"""The soak: a steady load for an hour, a kill every ten seconds, and a look at what all of it takes meanwhile.

    python -m tests.chaos.soak [SECONDS]

=============  =======  =====================================================================
variable       default  meaning
=============  =======  =====================================================================
CHAOS_SECONDS  3600     for how long; the argument comes first
CHAOS_RATE     3        runs that are requested every second
CHAOS_SEED     random   what is drawn: pipelines, kills; the order of things is the machine's
CHAOS_DIR      (temp)   where the mesh keeps everything; kept, to be looked at
=============  =======  =====================================================================

Runs are those of the proof (`proof.py`). One process of each kind is spared all the time, so that its memory can be
followed; the server is not: its data stay the same, and so must what it takes. What ended is forgotten after a sixth of
the time (at most five minutes) instead of 30 days, so that everything should come to rest at some size. It fails if
anything is lost, doubled, left or illegal, or if anything grows: the end against what it was after a third of the time.
"""

import asyncio
import os
import sys
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.errors import BusError
from tests.bench.memory import pid_of, resident
from tests.chaos.audit import doubled, left_behind, submissions
from tests.chaos.mesh import ChaosMesh, chaos_mesh, working
from tests.chaos.pipelines import Shape, shapes
from tests.chaos.proof import FAULTS, PIPELINES, QUIET, SEED, Story, begin, directory, torment
from tests.chaos.service import KEEP, REMOTE
from tests.chaos.usage import Series, Usage, children
from tests.chaos.witness import Witness
from tests.emulators.platform import Faults, misbehave
from tests.eventually import eventually

SECONDS: Final = float(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAOS_SECONDS", "3600"))
RATE: Final = float(os.environ.get("CHAOS_RATE", "3"))
FORGET: Final = min(300.0, SECONDS / 6)
"""Seconds after which an ended run and its facts are forgotten."""
EVERY: Final = 10.0
"""Seconds between two kills, on average; and between two samples."""
WARM_UP: Final = 1 / 3
_SHOWN_EVERY: Final = 6
_KINDS: Final = (("resolver",), ("worker", "local_python"), ("worker", REMOTE))


@dataclass
class Soak:
    """What happened so far."""

    spared: Mapping[str, int]
    story: Story = field(default_factory=Story)
    usage: Usage = field(default_factory=Usage)
    witness: Witness = field(default_factory=Witness)
    began: float = field(default_factory=monotonic)


async def spared(mesh: ChaosMesh) -> dict[str, int]:
    """Start one service of each kind, one after the other; return their process ids."""
    found: dict[str, int] = {}
    for kind in _KINDS:
        known = set(mesh.pids(kind[0]))
        mesh.keep(*kind, RUNMESH_SLOTS="16", **{KEEP: str(FORGET)})
        (found[" ".join(kind)],) = await eventually(partial(_new, mesh, kind[0], known))
    await working(mesh, 1)
    await working(mesh, 1, "local_python")
    return found


def _new(mesh: ChaosMesh, kind: str, known: Collection[int]) -> set[int]:
    return set(mesh.pids(kind)).difference(known)


def victims(mesh: ChaosMesh) -> None:
    """Start those that will be killed."""
    for kind in (*_KINDS, _KINDS[-1]):
        mesh.keep(*kind, RUNMESH_SLOTS="16", **{KEEP: str(FORGET)})


async def forget_soon(mesh: ChaosMesh) -> None:
    """Let facts and logs be forgotten with the runs that they are of."""
    for stream in (subjects.FACTS, subjects.LOGS):
        there = (await mesh.bus.api(f"STREAM.INFO.{stream}"))["config"]
        age = {"max_age": int(FORGET * 10**9), "duplicate_window": int(min(FORGET, 120) * 10**9)}
        await mesh.bus.api(f"STREAM.UPDATE.{stream}", there | age)


async def load(mesh: ChaosMesh, pipelines: list[Shape], random: Random, soak: Soak) -> None:
    """Request runs at a steady rate, until the time is over."""
    async with asyncio.TaskGroup() as group:
        while (passed := monotonic() - soak.began) < SECONDS:
            begin(mesh, group, pipelines, random, soak.story)
            await asyncio.sleep(max(0.0, len(soak.story.wanted) / RATE - passed))


async def sample(mesh: ChaosMesh, soak: Soak, console: Console) -> None:
    """Measure all, until told to end; say every minute how it is."""
    number = 0
    while True:
        for name, pid in soak.spared.items():
            soak.usage.process(name, pid)
        for supervisor in children(soak.spared["worker local_python"]):  # a worker whose lease ended has another one
            soak.usage.process("supervisor of local_python", supervisor)
        with suppress(BusError, TimeoutError, ValueError, OSError):  # the server is dead for the moment
            soak.usage.process("nats-server", pid_of(mesh.servers[0]))
            async with asyncio.timeout(5):
                await soak.usage.streams(mesh.bus)
        if number % _SHOWN_EVERY == 0:
            console.print(_now(soak), markup=False, highlight=False, soft_wrap=True)
        number += 1
        await asyncio.sleep(EVERY)


def _now(soak: Soak) -> str:
    memory = ", ".join(f"{each.name} {each.values[-1]:.1f}" for each in soak.usage.series() if each.unit == "MiB")
    runs = f"{len(soak.story.wanted)} runs, {len(soak.witness.ends)} ended"
    return f"{monotonic() - soak.began:5.0f} s: {runs}, {soak.story.kills.total()} kills; MiB: {memory}"


async def live(mesh: ChaosMesh, console: Console) -> tuple[Soak, list[str], int]:
    """Let it all happen; return what was seen, what is wrong, and how many jobs there were."""
    random = Random(SEED)  # noqa: S311 - a seeded game, no secret
    pipelines = shapes(mesh.folder, random, PIPELINES)
    for shape in pipelines:
        mesh.folder.write_pipeline(shape.name, shape.blocks)
    await forget_soon(mesh)
    soak = Soak(await spared(mesh))
    victims(mesh)
    await misbehave(mesh.folder.socket, FAULTS)
    async with AsyncExitStack() as stack:
        for task in (
            asyncio.create_task(soak.witness.listen(mesh.bus)),
            killing := asyncio.create_task(torment(mesh, random, soak.story.kills, EVERY, set(soak.spared.values()))),
            sampling := asyncio.create_task(sample(mesh, soak, console)),
        ):
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        await load(mesh, pipelines, random, soak)
        killing.cancel()
        sampling.cancel()
        await soak.witness.wait(len(soak.story.wanted), QUIET)
    await misbehave(mesh.folder.socket, Faults())
    return soak, *await judge(mesh, soak)


async def judge(mesh: ChaosMesh, soak: Soak) -> tuple[list[str], int]:
    """Return all that is wrong, and how many jobs there were."""
    started, ends = await submissions(mesh), soak.witness.ends
    wrong = [
        *(f"lost: {run}" for run in soak.story.wanted if run not in ends),
        *(f"ended otherwise: {run}: {end}" for run, end in ends.items() if not soak.story.ends_well(run, end)),
        *(f"doubled: {task}" for task in doubled(started)),
        *(f"illegal: {problem}" for problem in soak.witness.problems),
        *(f"left behind: {what}" for what in await left_behind(mesh, 30)),
        *(f"died, but was spared: {name}" for name, pid in soak.spared.items() if not resident(pid)),
        *(f"grows: {each.name}, {each.unit}" for each in soak.usage.series(WARM_UP) if each.grows),
    ]
    dead = (await mesh.bus.stream_info(subjects.DEAD)).messages
    return [*wrong, *([f"{dead} dead letters"] if dead else [])], started.total()


def table(soak: Soak, jobs: int) -> Table:
    """Show the figures."""
    title = f"seed {SEED}, {SECONDS:.0f} s, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}"
    shown = Table("figure", "after a third", "in the end", "most", title=title)
    ended, kills = (
        len(soak.witness.ends),
        ", ".join(f"{what} {count}" for what, count in sorted(soak.story.kills.items())),
    )
    shown.add_row("runs; a second", "", f"{ended:,}; {ended / SECONDS:.1f}")
    shown.add_row("jobs; a second", "", f"{jobs:,}; {jobs / SECONDS:.1f}")
    shown.add_row("killed", "", f"{soak.story.kills.total()}")
    shown.caption = f"killed: {kills}"
    for each in soak.usage.series(WARM_UP):
        shown.add_row(f"{each.name}: {each.unit}", *(_figure(each, value) for value in _seen(each)))
    return shown


def _seen(each: Series) -> Collection[float]:
    return each.before, each.after, max(each.values)


def _figure(each: Series, value: float) -> str:
    return f"{value:.1f}" if each.unit == "MiB" else f"{value:.0f}"


async def main(folder: Path) -> int:
    """Run it, print the table, and return the exit code."""
    console = Console()
    console.print(f"{SECONDS:.0f} s, {RATE:g} runs a second, seed {SEED}, in {folder}")
    async with chaos_mesh(folder) as mesh:
        soak, wrong, jobs = await live(mesh, console)
    console.print(table(soak, jobs))
    for line in wrong[:50]:
        console.print(line, markup=False, highlight=False)
    console.print("nothing lost, doubled, left or growing" if not wrong else f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(directory())))

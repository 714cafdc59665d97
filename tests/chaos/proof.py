"""The proof: many runs of random pipelines under random kills, and then a look at everything.

    python -m tests.chaos.proof [control]

================  =======  ==================================================================
variable          default  meaning
================  =======  ==================================================================
CHAOS_RUNS        1000     runs that are requested
CHAOS_SECONDS     150      for how long, while services die
CHAOS_SEED        random   what is drawn: pipelines, kills, cancels; the order of things is the machine's
CHAOS_DIR         (temp)   where the mesh keeps everything; kept, to be looked at
================  =======  ==================================================================

One request in seven is sent twice, one in fifteen cancelled. The platform throttles, fails and loses answers. Beside
the runs there are a twentieth as many messages that nobody can handle (`spoilt.py`): one dead letter each. With
`control`, every submission gets a random name, as if tasks had no keys: then jobs must be found doubled, or the
proof would not see anything.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from runmesh import subjects
from runmesh.events import RunFact, RunState, TaskFact
from tests.chaos.audit import Audit, audit, ended
from tests.chaos.legal import stale_words
from tests.chaos.mesh import LEASE, ChaosMesh, chaos_mesh, working
from tests.chaos.pipelines import Shape, shapes
from tests.chaos.service import REMOTE
from tests.chaos.spoilt import Spoilt, some_spoilt, spoil, write_pipelines, wrong_letters
from tests.emulators.platform import Faults, misbehave
from tests.shop import ask

RUNS: Final = int(os.environ.get("CHAOS_RUNS", "1000"))
SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "150"))
SEED: Final = int(os.environ.get("CHAOS_SEED") or int.from_bytes(os.urandom(3)))
PIPELINES: Final = 60
FAULTS: Final = Faults(throttle=0.02, internal=0.02, lost=0.02, slow_delete=0.3, seed=SEED)
QUIET: Final = 600.0
"""Seconds after the last kill until all must have ended."""
_KILLS: Final = {"resolver": 4, "worker": 6, "nats": 2, "stopped worker": 2, "drained worker": 2}
_EVERY: Final = 0.8


@dataclass
class Story:
    """What was asked, and what was done to the mesh."""

    wanted: dict[str, RunState] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)
    spoilt: list[Spoilt] = field(default_factory=list)
    letters: list[Mapping[str, Any]] = field(default_factory=list)
    """What was dead in the end."""

    def ends_well(self, run: str, end: RunState | None) -> bool:
        """Say whether a run ended as it must, or was cancelled before."""
        return end == self.wanted[run] or (run in self.cancelled and end is RunState.CANCELLED)


async def request(mesh: ChaosMesh, pipelines: list[Shape], random: Random, story: Story) -> None:
    """Send all requests, spread over the time."""
    async with asyncio.TaskGroup() as group:
        began = monotonic()
        for number in range(RUNS):
            await asyncio.sleep(max(0.0, began + SECONDS * number / RUNS - monotonic()))
            begin(mesh, group, pipelines, random, story)


def begin(mesh: ChaosMesh, group: asyncio.TaskGroup, pipelines: list[Shape], random: Random, story: Story) -> None:
    """Request another run; some are requested twice, some cancelled soon."""
    shape, run = random.choice(pipelines), f"run-{len(story.wanted):06}"
    story.wanted[run] = shape.end
    group.create_task(_request(mesh, run, shape, random.random() < 1 / 7))
    if random.random() < 1 / 15:
        story.cancelled.add(run)
        group.create_task(_cancel(mesh, run, random.uniform(0, 3)))


async def _request(mesh: ChaosMesh, run: str, shape: Shape, twice: bool) -> None:  # noqa: FBT001 - it is a task's
    for _ in range(1 + twice):
        await ask(mesh.bus, "run", {"id": run, "pipeline": shape.name})


async def _cancel(mesh: ChaosMesh, run: str, delay: float) -> None:
    await asyncio.sleep(delay)
    await ask(mesh.bus, "cancel", {"run": run})


async def torment(
    mesh: ChaosMesh, random: Random, kills: Counter[str], every: float, spared: Collection[int] = ()
) -> None:
    """Kill, stop and drain, every so many seconds on average, until told to end."""
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(random.expovariate(1 / every))
            (what,) = random.choices(list(_KILLS), list(_KILLS.values()))
            kind = what.rpartition(" ")[2]
            if not (there := [pid for pid in mesh.pids(kind) if pid not in spared]):
                continue
            victim = random.choice(there)
            kills[what] += 1
            if what == "stopped worker":
                group.create_task(_stop(victim, LEASE * random.uniform(1.0, 2.5)))
            else:
                _signal(victim, signal.SIGTERM if what == "drained worker" else signal.SIGKILL)


async def _stop(pid: int, seconds: float) -> None:
    """Let a process stand still, and go on when others have taken over."""
    _signal(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def live(mesh: ChaosMesh, *, control: bool) -> tuple[Story, Audit, list[str]]:
    """Let it all happen; return what was asked, what was found, and the runs that ended otherwise than they must."""
    random, story = Random(SEED), Story()  # noqa: S311 - a seeded game, no secret
    pipelines = shapes(mesh.folder, random, PIPELINES)
    for shape in pipelines:
        mesh.folder.write_pipeline(shape.name, shape.blocks)
    write_pipelines(mesh.folder)
    how = ("random-keys",) if control else ()
    for kind, count in (("local_python", 2), (REMOTE, 3)):
        for _ in range(count):
            mesh.keep("worker", kind, *how, RUNMESH_SLOTS="16")
    for _ in range(2):
        mesh.keep("resolver")
    await working(mesh, 3)
    await misbehave(mesh.folder.socket, FAULTS)
    killing = asyncio.create_task(torment(mesh, Random(SEED + 1), story.kills, _EVERY))  # noqa: S311 - as above
    story.spoilt = some_spoilt(RUNS // 20)
    story.wanted |= {each.name: each.end for each in story.spoilt if each.end}
    async with asyncio.TaskGroup() as group:
        group.create_task(request(mesh, pipelines, random, story))
        group.create_task(spoil(mesh, story.spoilt, SECONDS))
    killing.cancel()
    await asyncio.wait([killing])
    await ended(mesh, story.wanted, within=QUIET)
    await misbehave(mesh.folder.socket, Faults())
    found = await audit(mesh, story.wanted, within=30)
    story.letters = [json.loads(message.data) async for message in mesh.bus.replay(subjects.DEAD)]
    return story, found, [run for run in story.wanted if not story.ends_well(run, _end(run, found))]


def _end(run: str, found: Audit) -> RunState | None:
    return next((fact.state for fact in reversed(found.facts.get(run, ())) if isinstance(fact, RunFact)), None)


def table(story: Story, found: Audit, wrong: list[str], took: float) -> Table:
    """Show the figures."""
    tasks = {
        fact.key for facts in found.facts.values() for fact in facts if isinstance(fact, TaskFact) and fact.attempt
    }
    taken_over = {
        fact.key for facts in found.facts.values() for fact in facts if isinstance(fact, TaskFact) and fact.epoch
    }
    shown = Table("figure", "", title=f"seed {SEED}, {took:.0f} s, {os.cpu_count()} cores")
    for what, count in [
        *((f"killed: {what}" if " " not in what else what, count) for what, count in sorted(story.kills.items())),
        ("runs", len(story.wanted)),
        ("of them cancelled", len(story.cancelled)),
        ("submissions of tasks", len(tasks)),
        ("of them taken over", len(taken_over)),
        ("jobs", found.jobs),
        ("words of zombies", sum(len(stale_words(facts)) for facts in found.facts.values())),
        ("messages that nobody can handle", len(story.spoilt)),
        ("dead letters", len(story.letters)),
        ("dead letters missing, or too many", len(misplaced(story))),
        ("lost", len(found.lost)),
        ("doubled", len(found.doubled)),
        ("orphans, and whatever else is left", len(found.left)),
        ("runs with an illegal history", len(found.illegal)),
        ("runs that ended otherwise than they must", len(wrong)),
    ]:
        shown.add_row(what, f"{count:,}")
    return shown


async def main(directory: Path, *, control: bool) -> int:
    """Run it, print the table, and return the exit code."""
    console, began = Console(), monotonic()
    console.print(f"{RUNS} runs in {SECONDS:.0f} s, seed {SEED}, in {directory}{' (control)' if control else ''}")
    async with chaos_mesh(directory) as mesh:
        story, found, wrong = await live(mesh, control=control)
    console.print(table(story, found, wrong, monotonic() - began))
    findings = [*found.findings, *(f"ended otherwise: {run}" for run in wrong), *misplaced(story)]
    for line in findings[:50]:
        console.print(line, markup=False, highlight=False)
    if control:
        console.print("the control sees doubled jobs" if found.doubled else "THE CONTROL SAW NOTHING")
        return 0 if found.doubled else 1
    return 1 if findings else 0


def misplaced(story: Story) -> list[str]:
    """Name the dead letters that are missing, or too many."""
    return wrong_letters(story.letters, story.spoilt)


def directory() -> Path:
    """Make the directory in which a mesh keeps everything."""
    if given := os.environ.get("CHAOS_DIR"):
        Path(given).mkdir(parents=True)
        return Path(given)
    return Path(tempfile.mkdtemp(prefix="runmesh-chaos-"))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(directory(), control="control" in sys.argv)))

"""What a resolver holds of runs: nothing of those whose end another replica has seen, and no garbage."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.errors import Conflict
from runmesh.resolver.plan import Plan
from tests.eventually import eventually
from tests.shop import answering, ask, resolving, settings_for, states, write_pipeline, write_project

RUNS = 20


async def test_two_resolvers_remember_no_run_that_has_ended(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "chain", {"load": [], "check": ["load"], "report": ["check"]})
    settings = settings_for(tmp_path).model_copy(update={"sweep_interval": 0.1})
    async with resolving(bus, settings), resolving(bus, settings), answering(bus):
        await run_all(bus)
        await eventually(lambda: not remembered())


async def run_all(bus: Bus) -> None:
    await asyncio.gather(*(ask(bus, "run", {"pipeline": "chain", "id": f"r{number}"}) for number in range(RUNS)))
    for number in range(RUNS):
        await eventually(partial(ended, bus, f"r{number}"))


async def ended(bus: Bus, run: str) -> bool:
    return "completed" in await states(bus, run) and not await bus.bucket(subjects.RUNS).keys(subjects.active(run))


def remembered() -> list[str]:
    gc.collect()
    return [thing.run for thing in gc.get_objects() if isinstance(thing, Plan) and thing.run]


async def test_what_another_resolver_did_before_leaves_no_garbage(bus: Bus, tmp_path: Path) -> None:
    """A refusal holds all that was sent: it must be gone before anybody searches for garbage."""
    write_pipeline(write_project(tmp_path / "shop"), "chain", {"load": [], "check": ["load"], "report": ["check"]})
    settings = settings_for(tmp_path)
    async with resolving(bus, settings), resolving(bus, settings), answering(bus):
        with no_collection():
            await run_all(bus)
            await refused(bus)
            # The last one may be under way still.
            assert sum(isinstance(thing, Conflict) for thing in gc.get_objects()) <= 1


async def refused(bus: Bus) -> None:
    bucket = bus.bucket(subjects.RUNS)
    await bucket.put("key", b"")
    for _ in range(RUNS):
        with suppress(Conflict):
            await bucket.update("key", b"", 1 << 40)


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

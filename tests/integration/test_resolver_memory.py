"""What a resolver remembers of runs: nothing of those whose end another replica has seen."""

import asyncio
import gc
from functools import partial
from pathlib import Path

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.resolver.plan import Plan
from tests.eventually import eventually
from tests.shop import answering, ask, resolving, settings_for, states, write_pipeline, write_project

RUNS = 20


async def test_two_resolvers_remember_no_run_that_has_ended(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "chain", {"load": [], "check": ["load"], "report": ["check"]})
    settings = settings_for(tmp_path).model_copy(update={"sweep_interval": 0.1})
    async with resolving(bus, settings), resolving(bus, settings), answering(bus):
        await asyncio.gather(*(ask(bus, "run", {"pipeline": "chain", "id": f"r{number}"}) for number in range(RUNS)))
        for number in range(RUNS):
            await eventually(partial(ended, bus, f"r{number}"))
        await eventually(lambda: not remembered())


async def ended(bus: Bus, run: str) -> bool:
    return "completed" in await states(bus, run) and not await bus.bucket(subjects.RUNS).keys(subjects.active(run))


def remembered() -> list[str]:
    gc.collect()
    return [thing.run for thing in gc.get_objects() if isinstance(thing, Plan) and thing.run]

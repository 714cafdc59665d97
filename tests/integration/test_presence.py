"""What a resolver knows of workers when it says that a task waits for one."""

import asyncio
from pathlib import Path

from runmesh import subjects
from runmesh.bus import Bus
from tests.eventually import eventually
from tests.shop import ask, commands, resolving, settings_for, task_facts, write_pipeline, write_project


async def appears(bus: Bus, executor_type: str) -> None:
    """Write what a worker writes first of all."""
    await bus.bucket(subjects.WORKERS).put(subjects.worker(executor_type, "default", "one"), b"{}")


async def queued_reason(bus: Bus, run: str) -> str | None:
    """Say what the first fact of a run's task says of its wait."""
    first, *_ = await eventually(lambda: task_facts(bus, run))
    return first.reason


async def test_a_worker_that_has_just_come_is_known_to_the_next_run(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "remote", {"far": []}, executor_type="k8s")
    async with resolving(bus, settings_for(tmp_path)):
        await appears(bus, "local_python")
        await ask(bus, "run", {"pipeline": "remote", "id": "before"})
        assert await queued_reason(bus, "before") == "waiting: no k8s worker of pool 'default' has reported"
        await appears(bus, "k8s")
        await asyncio.sleep(0.2)  # nobody looks more often than every tenth of a second
        await ask(bus, "run", {"pipeline": "remote", "id": "after"})
        assert await queued_reason(bus, "after") is None
        assert len(await commands(bus, "k8s")) == 2

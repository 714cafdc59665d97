"""What a watcher sees of a run with children: real facts of a resolver and a worker, from the beginning and late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import to_json

from runmesh import Mesh
from runmesh.bus import Bus
from runmesh.events import OUTCOME
from runmesh.executor import Handle, Task
from runmesh.executors.local_python import Config
from runmesh.folding import Folding, fold
from runmesh.view import ChildrenView, RunView
from runmesh.worker import Worker
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script, ToldExecutor
from tests.shop import resolving, settings_for, write_project

CHILDREN = 40
BLOCKS: dict[str, dict[str, Any]] = {
    "source": {"configuration": {"dynamic": True}},
    "each": {"upstream_blocks": ["source"], "configuration": {"reduce_output": True}},
    "total": {"upstream_blocks": ["each"]},
}


def leave(outcome: Path) -> None:
    """Say how many items there are."""
    outcome.parent.mkdir(parents=True, exist_ok=True)
    outcome.write_bytes(to_json({"exit_code": 0, "children": {"count": CHILDREN}}))


class Fanning(ToldExecutor):
    """Jobs that do nothing, but for `source`, which returns items."""

    async def submit(self, task: Task[Any]) -> Handle:
        """Leave an outcome, as the runtime does."""
        if task.block == "source":
            leave(Path(task.environment[OUTCOME]))
        return await super().submit(task)


def write_fan(projects: Path) -> None:
    project = write_project(projects / "shop", variables_dir=str(projects / "variables"))
    (project / "callbacks").mkdir()
    (project / "callbacks" / "tell.py").write_text("@callback('cancelled')\ndef tell(*args, **kwargs): ...\n")
    (project / "pipelines" / "fan").mkdir()
    for uuid in BLOCKS:
        (project / "custom" / f"{uuid}.py").write_text("@custom\ndef run(*args, **kwargs): ...\n")
    told = {"uuid": "tell", "type": "callback", "language": "python", "upstream_blocks": ["each"]}
    blocks = [{"uuid": uuid, "type": "custom", "language": "python", **block} for uuid, block in BLOCKS.items()]
    document = {"uuid": "fan", "type": "python", "blocks": blocks, "callbacks": [told]}
    (project / "pipelines" / "fan" / "metadata.yaml").write_text(yaml.safe_dump(document))


@asynccontextmanager
async def working(bus: Bus, projects: Path, platform: Platform) -> AsyncIterator[None]:
    """A resolver and a worker."""
    settings = settings_for(projects)
    worker = Worker(
        bus,
        Fanning(platform),
        executor_type="local_python",
        config_model=Config,
        settings=settings,
        worker_id="worker-1",
    )
    task = asyncio.create_task(worker.run())
    try:
        async with resolving(bus, settings):
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await platform.close()


async def followed(mesh: Mesh, run: str) -> tuple[RunView, list[int]]:
    """Follow a run to its end, and note after each fact how many of the children had ended."""
    folding, done = Folding(run), []
    async for fact in mesh.watch(run):
        folding.add(fact)
        children = folding.block("each").children
        assert children is None or children.total == CHILDREN
        done.append(children.done if children else 0)
    return folding.view(), done


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    write_fan(tmp_path)
    return tmp_path


async def test_children_are_counted_from_the_beginning_and_for_who_comes_late(bus: Bus, projects: Path) -> None:
    platform = Platform(**{"each:3": Script(exit_code=1), "each:7": Script(exit_code=1)})
    mesh = Mesh(bus)
    async with working(bus, projects, platform):
        run = await mesh.submit("fan", project="shop", allow_blocks_to_fail=True)
        view, done = await followed(mesh, run)
    children = view.blocks["each"].children
    assert children
    assert (view.state, view.blocks["each"].state, view.blocks["total"].state) == (
        "failed",
        "failed",
        "upstream_failed",
    )
    assert children.counts == {"completed": CHILDREN - 2, "failed": 2}
    assert [(child.name, child.attempt, child.reason) for child in children.failed] == [
        ("each:3", 1, "exit code 1"),
        ("each:7", 1, "exit code 1"),
    ]
    assert view.blocks["each"].reason == "40 children: 38 completed, 2 failed"
    assert (view.done, view.total) == (CHILDREN + 2, CHILDREN + 2)
    assert done == sorted(done)
    assert await mesh.show(run) == view
    assert (await followed(mesh, run))[0] == view
    assert fold(run, reversed([fact async for fact in mesh.watch(run)])) == view


async def test_one_child_is_cancelled_while_a_late_watcher_looks_on(bus: Bus, projects: Path) -> None:
    platform = Platform(**{"each:5": Script(runs=None)})
    mesh = Mesh(bus)
    async with working(bus, projects, platform):
        run = await mesh.submit("fan", project="shop")

        async def one_is_left() -> bool:
            each = (await mesh.show(run)).blocks.get("each")
            return bool(each and each.children and each.children.counts == {"completed": CHILDREN - 1, "running": 1})

        await eventually(one_is_left)
        watching = asyncio.create_task(followed(Mesh(bus), run))
        await mesh.cancel(run, ["each:5"], "wrong item")
        view, _ = await watching
    each = view.blocks["each"]
    assert each.children
    assert (each.state, dict(each.children.counts)) == ("cancelled", {"completed": CHILDREN - 1, "cancelled": 1})
    assert platform.cancelled == [platform.job("each:5").key]
    [callbacks] = each.steps
    assert (callbacks.name, callbacks.state, dict(callbacks.children.counts if callbacks.children else {})) == (
        "_callback:each",
        "completed",
        {"completed": 1},
    )
    assert await mesh.show(run) == view


async def test_a_retry_counts_the_children_that_it_carries_over(bus: Bus, projects: Path) -> None:
    platform = Platform(**{"each:3": Script(exit_code=1)})
    mesh = Mesh(bus)
    async with working(bus, projects, platform):
        first, _ = await followed(mesh, await mesh.submit("fan", project="shop", allow_blocks_to_fail=True))
        platform.scripts.clear()
        view, done = await followed(mesh, await mesh.retry(first.run))
    assert view.state == "completed"
    assert view.blocks["each"].children == ChildrenView({"completed": CHILDREN})
    assert (done[0], done[-1]) == (CHILDREN - 1, CHILDREN)
    assert await mesh.show(view.run) == view

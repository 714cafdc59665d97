"""Dynamic blocks through a real resolver: ten thousand children, and what happens when it dies among them."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from runmesh.bus import Bus
from runmesh.events import TaskState
from tests.eventually import eventually
from tests.integration.test_big_pipelines import ended, watching
from tests.shop import answering, ask, commands, killable, resolving, run_facts, settings_for, task_facts, write_project

FAN: dict[str, Any] = {
    "source": {"configuration": {"dynamic": True}},
    "each": {"upstream_blocks": ["source"], "configuration": {"reduce_output": True}},
    "total": {"upstream_blocks": ["each"]},
}


def write_dynamic(projects: Path) -> None:
    project = write_project(projects / "shop")
    folder = project / "pipelines" / "fan"
    folder.mkdir(parents=True)
    blocks = [{"uuid": uuid, "type": "custom", **block} for uuid, block in FAN.items()]
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"blocks": blocks}))


def children(count: int) -> dict[str, Any]:
    return {"source": {"children": {"count": count}}}


async def test_ten_thousand_children_run_once_each_in_a_small_state(bus: Bus, tmp_path: Path) -> None:
    write_dynamic(tmp_path)
    async with (
        resolving(bus, settings_for(tmp_path, sweep_interval=60)),  # as in test_big_pipelines
        answering(bus, outcomes=children(10_000)) as taken,
        watching(bus) as sizes,
    ):
        await ask(bus, "run", {"id": "fan", "pipeline": "fan"})
        await ended(bus, "fan", within=200)
    names = Counter(command.block for command in taken)
    assert set(names.values()) == {1}
    assert names.keys() == {"source", "total", *(f"each:{index}" for index in range(10_000))}
    (last,) = [fact for fact in await run_facts(bus, "fan") if fact.state == "completed"]
    assert last.blocks
    assert last.blocks["each"].children == {"completed": 10_000}
    print(f"the state takes {sizes.largest['state']:,} bytes at most")  # noqa: T201 - shown by -rP
    assert sizes.largest["state"] < 100_000


async def test_a_child_is_told_which_item_is_its_own(bus: Bus, tmp_path: Path) -> None:
    write_dynamic(tmp_path)
    async with resolving(bus, settings_for(tmp_path)), answering(bus, outcomes=children(2)) as taken:
        await ask(bus, "run", {"id": "fan", "pipeline": "fan"})
        await ended(bus, "fan", within=60)
    told = {command.block: command.command for command in taken}
    assert "--dynamic-index" not in told["source"]
    assert _after("--block-uuid", told["each:1"]) == "each:1"
    assert _after("--dynamic-index", told["each:1"]) == "1:1"
    assert _after("--dynamic-index", told["total"]) == "-:*2"
    assert [command.needs_outcome for command in taken] == [True, False, False, False]


def _after(flag: str, argv: tuple[str, ...]) -> str:
    return argv[argv.index(flag) + 1]


async def test_the_block_as_a_whole_has_facts_of_its_own(bus: Bus, tmp_path: Path) -> None:
    write_dynamic(tmp_path)
    async with resolving(bus, settings_for(tmp_path)), answering(bus, outcomes=children(3)):
        await ask(bus, "run", {"id": "fan", "pipeline": "fan"})
        await ended(bus, "fan", within=60)
    facts = [fact for fact in await task_facts(bus, "fan") if fact.block == "each"]
    assert [(str(fact.state), fact.children) for fact in facts] == [("running", 3), ("completed", None)]
    assert facts[-1].reason == "3 children: 3 completed"


async def test_children_go_on_where_a_resolver_was_killed(bus: Bus, tmp_path: Path) -> None:
    write_dynamic(tmp_path)
    settings = settings_for(tmp_path, sweep_interval=0.2, max_in_flight=20)
    async with answering(bus, outcomes=children(300)) as taken:
        async with killable(bus, settings) as resolver:
            await ask(bus, "run", {"id": "fan", "pipeline": "fan"})
            await eventually(lambda: len(taken) > 100)
            resolver.cancel()
        async with resolving(bus, settings):
            await ended(bus, "fan", within=60)
    assert {command.block for command in taken} == {"source", "total", *(f"each:{index}" for index in range(300))}
    assert [fact.state for fact in await task_facts(bus, "fan") if fact.block == "total"][-1] is TaskState.COMPLETED
    assert not await commands(bus)

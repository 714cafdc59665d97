"""Random pipelines, and how a run of each must end (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from runmesh.events import RunState
from tests.chaos.mesh import MARK, Folder
from tests.chaos.service import REMOTE

_TYPES: Final = ("local_python", REMOTE)
_FAILING: Final = 0.06
_FLAKY: Final = 0.15
_ENDLESS: Final = 0.03
_DYNAMIC: Final = 0.2


@dataclass(frozen=True)
class Shape:
    """One pipeline."""

    name: str
    blocks: Sequence[Mapping[str, Any]]
    end: RunState


def shapes(folder: Folder, random: Random, count: int) -> list[Shape]:
    """Return so many random pipelines: chains, fans, joins, retries, failures, timeouts, and some that are dynamic."""
    python = str(folder.write_runtime())
    return [
        _dynamic(f"p{number}", folder, python, random)
        if random.random() < _DYNAMIC
        else _static(f"p{number}", folder, random)
        for number in range(count)
    ]


def _static(name: str, folder: Folder, random: Random) -> Shape:
    graph = random.choice((_chain, _fan, _join, _any))(random)
    blocks, fails = [], False
    for uuid, upstream in graph.items():
        script, retries, end = _behaviour(random)
        fails = fails or end
        block = {"uuid": uuid, "command": folder.script(script), "upstream_blocks": upstream, **retries}
        blocks.append(block | {"executor_type": random.choice(_TYPES)})
    return Shape(name, blocks, RunState.FAILED if fails else RunState.COMPLETED)


def _dynamic(name: str, folder: Folder, python: str, random: Random) -> Shape:
    """Three children for what one block returns, and one block below them all."""

    def block(uuid: str, upstream: list[str], **configuration: Any) -> dict[str, Any]:
        kind = random.choice(_TYPES)
        local = {"python": python, "environment": {MARK: folder.mark}}
        return {
            "uuid": f"{uuid}_{name}",
            "type": "custom",
            "language": "python",
            "upstream_blocks": [f"{above}_{name}" for above in upstream],
            "configuration": configuration,
            "executor_type": kind,
            "executor_config": local if kind == "local_python" else {"shared": True},
        }

    blocks = [
        block("source", [], dynamic=True),
        block("each", ["source"], reduce_output=True),
        block("total", ["each"]),
    ]
    return Shape(name, blocks, RunState.COMPLETED)


def _behaviour(random: Random) -> tuple[str, dict[str, Any], bool]:
    """Return what a block does, its retries or timeout, and whether it fails in the end."""
    pause, fate = f"sleep {random.choice((0, 0.1, 0.3, 1))}", random.random()
    if fate < _FAILING:
        return f"{pause}; exit 3", {"retry_config": {"retries": random.choice((0, 1)), "delay": 0.2}}, True
    if fate < _FAILING + _FLAKY:
        return f"{pause}; [ $RUNMESH_ATTEMPT -gt 1 ]", {"retry_config": {"retries": 1, "delay": 0.2}}, False
    if fate < _FAILING + _FLAKY + _ENDLESS:
        return "sleep 300", {"timeout": 1}, True
    return pause, {}, False


def _chain(random: Random) -> dict[str, list[str]]:
    return {f"b{number}": [f"b{number - 1}"] if number else [] for number in range(random.randint(1, 5))}


def _fan(random: Random) -> dict[str, list[str]]:
    return {"b0": []} | {f"b{number}": ["b0"] for number in range(1, random.randint(3, 6))}


def _join(random: Random) -> dict[str, list[str]]:
    above = {f"b{number}": list[str]() for number in range(random.randint(2, 5))}
    return above | {"join": list(above)}


def _any(random: Random) -> dict[str, list[str]]:
    graph: dict[str, list[str]] = {}
    for number in range(random.randint(3, 7)):
        graph[f"b{number}"] = [above for above in graph if random.random() < 0.4]
    return graph

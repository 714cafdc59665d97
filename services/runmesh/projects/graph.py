"""The order of a pipeline's blocks: upstream first, and otherwise as in the document."""

from collections.abc import Mapping
from functools import partial
from heapq import heapify, heappop, heappush

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects.fields import Problems
from runmesh.projects.model import Block, Pipeline

_SHOWN = 12


def check_graph(pipeline: Pipeline) -> None:
    """Raise `Invalid` for a cycle, naming it, and for upstream blocks that don't exist."""
    problems = Problems("")
    for kind in ("blocks", "callbacks", "conditionals"):
        for block in getattr(pipeline, kind).values():
            for name in block.upstream_blocks:
                if name not in pipeline.blocks:
                    hint = partial(nearest, name, pipeline.blocks)
                    path = f"{kind}.{block.uuid}.upstream_blocks"
                    problems.add(path, f"there is no block {name[:200]!r}", hint)
    problems.raise_any()
    topological_order(pipeline)


def topological_order(pipeline: Pipeline) -> tuple[str, ...]:
    """Order the blocks, upstream first; upstream blocks that don't exist are left out. Raises `Invalid` for a cycle."""
    blocks = pipeline.blocks
    place = {uuid: index for index, uuid in enumerate(blocks)}
    waits = {uuid: {name for name in block.upstream_blocks if name in blocks} for uuid, block in blocks.items()}
    below: dict[str, list[str]] = {uuid: [] for uuid in blocks}
    for uuid, upstream in waits.items():
        for name in upstream:
            below[name].append(uuid)
    ready = [(place[uuid], uuid) for uuid, upstream in waits.items() if not upstream]
    heapify(ready)
    order: list[str] = []
    while ready:
        uuid = heappop(ready)[1]
        order.append(uuid)
        for name in below[uuid]:
            waits[name].remove(uuid)
            if not waits[name]:
                heappush(ready, (place[name], name))
    if len(order) < len(blocks):
        raise Invalid(
            Problem("blocks", f"these blocks wait for each other: {_cycle(blocks, set(blocks) - set(order))}")
        )
    return tuple(order)


def _cycle(blocks: Mapping[str, Block], stuck: set[str]) -> str:
    """Follow the stuck blocks upwards until one comes again; shown in the order of the data."""
    path: list[str] = []
    seen: dict[str, int] = {}
    uuid = min(stuck)
    while uuid not in seen:
        seen[uuid] = len(path)
        path.append(uuid)
        uuid = next(name for name in blocks[uuid].upstream_blocks if name in stuck)
    cycle = [*path[seen[uuid] :], uuid][::-1]
    if len(cycle) > _SHOWN:
        cycle = [*cycle[: _SHOWN // 2], "…", *cycle[-_SHOWN // 2 :]]
    return " → ".join(cycle)

"""Which blocks of a pipeline a request runs, and whether in one process."""

from collections.abc import Iterable, Mapping
from typing import Final

from runmesh.errors import MOST_PROBLEMS, Problem, nearest
from runmesh.events import RunRequest
from runmesh.projects import Pipeline

NEVER_EXECUTED: Final = frozenset({"chart", "markdown", "scratchpad"})
"""Block types that Mage keeps in a pipeline and never runs."""
_ALWAYS: Final = {"streaming": True, "integration": False}
"""By type of the pipeline, whatever is asked for."""
_YES: Final = frozenset({"1", "true", "yes", "on"})


def runs_whole(pipeline: Pipeline, request: RunRequest, environment: Mapping[str, str]) -> bool:
    """Say whether all blocks run in one process, as one task."""
    if pipeline.type in _ALWAYS:
        return _ALWAYS[pipeline.type]
    if request.run_pipeline_in_one_process is not None:
        return request.run_pipeline_in_one_process
    if pipeline.run_pipeline_in_one_process is not None:
        return pipeline.run_pipeline_in_one_process
    return environment.get("RUN_PIPELINE_IN_ONE_PROCESS", "").lower() in _YES


def select(pipeline: Pipeline, request: RunRequest) -> tuple[str, ...]:
    """Return the blocks to run, in the document's order: those asked for, and what is above or below if that was too.

    Unknown names are left out (`unknown_blocks` reports them), and so are blocks that never execute.
    """
    chosen: set[str] = set(pipeline.blocks)
    if wanted := request.blocks:
        named = [name for name in wanted.names if name in pipeline.blocks]
        chosen = set(named)
        if wanted.upstream:
            chosen |= _reached(named, {uuid: block.upstream_blocks for uuid, block in pipeline.blocks.items()})
        if wanted.downstream:
            chosen |= _reached(named, _below(pipeline))
    return tuple(uuid for uuid, block in pipeline.blocks.items() if uuid in chosen and block.type not in NEVER_EXECUTED)


def unknown_blocks(pipeline: Pipeline, request: RunRequest) -> tuple[Problem, ...]:
    """Return a problem for every block that a request names and the pipeline doesn't have."""
    named = [("blocks", name) for name in (request.blocks.names if request.blocks else ())]
    named += [("block_config", name) for name in request.block_config]
    unknown = [(key, name) for key, name in named if name not in pipeline.blocks]
    return tuple(
        Problem(f"request: {key}", f"there is no block {name!r} in {pipeline.uuid!r}", nearest(name, pipeline.blocks))
        for key, name in unknown[:MOST_PROBLEMS]
    )


def _below(pipeline: Pipeline) -> Mapping[str, list[str]]:
    below: dict[str, list[str]] = {uuid: [] for uuid in pipeline.blocks}
    for uuid, block in pipeline.blocks.items():
        for above in block.upstream_blocks:
            below.setdefault(above, []).append(uuid)
    return below


def _reached(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(start)
    while todo:
        uuid = todo.pop()
        if uuid in edges and uuid not in found:
            found.add(uuid)
            todo.extend(edges[uuid])
    return found

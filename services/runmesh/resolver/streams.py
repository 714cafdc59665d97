"""Integration pipelines: one task for each block and stream, each a `mage run` of its own, as Mage's scheduler does.

A stream's blocks are one chain, from the source to the destination. Streams go one after another, except those that the
catalog lets run in parallel. A task is called `<block>:<stream>:0`: that is what Mage's command line takes for a block.
The 0 is Mage's number of a batch; Mage counts the rows of an SQL source beforehand and makes a batch of every so many.
Here one task takes all rows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from runmesh.errors import Problem
from runmesh.projects import Pipeline, Project
from runmesh.projects.commands import COMMAND
from runmesh.projects.streams import Stream, streams_of
from runmesh.resolver.command import of_stream
from runmesh.resolver.explanation import BlockExplanation

INTEGRATION: Final = "integration"
_ONE_CHAIN: Final = "an integration pipeline is one chain of blocks"


def found_in(project: Project, pipeline: Pipeline, *, on_disk: bool) -> tuple[Stream, ...]:
    """Return the streams of a pipeline, none of one that has none; raises `Invalid` for a catalog that is wrong."""
    has_commands = any(block.type == COMMAND for block in pipeline.blocks.values())
    is_fit = pipeline.type == INTEGRATION and on_disk and not has_commands
    return streams_of(project, pipeline) if is_fit else ()


def spread(
    blocks: Mapping[str, BlockExplanation], streams: Iterable[Stream], order: Iterable[str]
) -> dict[str, BlockExplanation]:
    """Return what is known of each task, by its name; `order` is that of the chain."""
    chain = [(uuid, blocks[uuid]) for uuid in order if uuid in blocks]
    found: dict[str, BlockExplanation] = {}
    before: tuple[str, ...] = ()
    for stream in streams:
        above = () if stream.in_parallel else before
        for uuid, block in chain:
            argv = of_stream(block.command, uuid, f"{stream.name}:0", _told(stream))
            found[f"{uuid}:{stream.name}:0"] = replace(block, command=argv, upstream=above)
            above = (f"{uuid}:{stream.name}:0",)
        if not stream.in_parallel:
            before = above
    return found


def refused(pipeline: Pipeline, file: str) -> Iterator[Problem]:
    """Yield what keeps an integration pipeline from being one chain, or would be left out of it in silence."""
    if pipeline.type != INTEGRATION:
        return
    types = Counter(block.type for block in pipeline.blocks.values())
    for kind, what in (("data_loader", "source"), ("data_exporter", "destination")):
        if types[kind] != 1:
            yield Problem(f"{file}: blocks", f"{_ONE_CHAIN} with one {what} ({kind}), and this has {types[kind]}")
    below = Counter(above for block in pipeline.blocks.values() for above in block.upstream_blocks)
    for uuid, block in pipeline.blocks.items():
        if len(block.upstream_blocks) > 1 or below[uuid] > 1:
            yield Problem(f"block {uuid}: upstream_blocks", f"{_ONE_CHAIN}, and it has two neighbours on one side")
    if any(each.upstream_blocks for each in pipeline.conditionals.values()):
        message = "the conditions of an integration pipeline's blocks can't be asked for each stream"
        yield Problem(f"{file}: conditionals", message)


def _told(stream: Stream) -> dict[str, object]:
    """Return what Mage's scheduler tells of a stream: that there is one batch, and no other after it."""
    table, names = stream.table, [stream.name]
    return {"destination_table": table, "index": 0, "is_last_block_run": True, "selected_streams": names}

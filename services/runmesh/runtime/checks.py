"""What the native runtime can't run, and what would else go wrong without a word."""

from collections.abc import Iterable, Iterator
from typing import Final

from runmesh.errors import Problem
from runmesh.projects import Block, Pipeline
from runmesh.runtime.outputs import clean_name

RUNNABLE: Final = frozenset({"data_loader", "transformer", "data_exporter", "custom", "sensor"})
NEVER_RUN: Final = frozenset({"chart", "markdown", "scratchpad"})
"""Mage leaves these out when it runs a pipeline."""
PIPELINE_TYPES: Final = frozenset({"python", "pyspark"})
_MAGE: Final = "set `runtime: mage` to have Mage run it"


def problems(pipeline: Pipeline, blocks: Iterable[Block]) -> Iterator[Problem]:
    """Yield all that keeps these blocks of a pipeline from running here."""
    directories: dict[str, list[str]] = {}
    for uuid in pipeline.blocks:
        directories.setdefault(clean_name(uuid), []).append(uuid)
    for block in blocks:
        where = f"block {block.uuid}"
        if pipeline.type not in PIPELINE_TYPES:
            yield Problem(where, f"the native runtime runs no blocks of {pipeline.type} pipelines", _MAGE)
        elif block.type not in RUNNABLE or block.language != "python":
            yield Problem(where, f"the native runtime can't run a {block.language} {block.type} block", _MAGE)
        directory = clean_name(block.uuid)
        if others := [uuid for uuid in directories[directory] if uuid != block.uuid]:
            shared = f"its outputs would be those of block {others[0]}, too ({directory})"
            yield Problem(where, shared, "rename one of them")

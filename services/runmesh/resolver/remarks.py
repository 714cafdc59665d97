"""What is worth knowing of a pipeline's run though nothing forbids it: warnings about more than one task."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from runmesh.errors import Problem
from runmesh.events import RunRequest
from runmesh.projects import Pipeline, Project
from runmesh.projects.addons import callbacks_of
from runmesh.projects.commands import COMMAND
from runmesh.resolver.configuration import Configuration
from runmesh.resolver.selection import NEVER_EXECUTED

_TOGETHER: Final = "the pipeline runs in one process"


def left_out(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield the blocks that never execute."""
    for uuid, block in pipeline.blocks.items():
        if block.type in NEVER_EXECUTED:
            yield Problem(f"block {uuid}", f"{block.type} blocks never execute: left out")


def unused(request: RunRequest, used: Collection[str]) -> Iterator[Problem]:
    """Yield the executor types that a request configures and that no task runs on."""
    for name in request.executor_config:
        if name not in used:
            yield Problem(f"request: executor_config.{name}", "is not used: nothing here runs there")


def edges(project: Project, pipeline: Pipeline, settled: Mapping[str, Configuration]) -> Iterator[Problem]:
    """Yield where a block's outputs stay on another executor's disk."""
    if pipeline.remote_variables_dir or project.remote_variables_dir:
        return
    data = {uuid: each for uuid, each in settled.items() if pipeline.blocks[uuid].type != COMMAND}
    for uuid, below in data.items():
        for name in pipeline.blocks[uuid].upstream_blocks:
            above = data.get(name)
            if above and _apart(above, below):
                places = f"{name!r} runs on {above.executor_type}, {uuid!r} on {below.executor_type}"
                hint = "set remote_variables_dir, or `shared: true` in the executor_config of both"
                yield Problem(f"block {uuid}: upstream_blocks", f"{places}, and outputs are stored locally", hint)


def in_one_process(pipeline: Pipeline, request: RunRequest, runtime: str | None) -> Iterator[Problem]:
    """Yield what is said of single blocks and has no effect where all run in one process."""
    for uuid, block in pipeline.blocks.items():
        if block.timeout:
            yield Problem(f"block {uuid}: timeout", f"has no effect: {_TOGETHER}", "the run's timeout holds")
        if block.retry_config and runtime == "mage":
            hint = "the pipeline's own retry_config holds"
            yield Problem(f"block {uuid}: retry_config", f"has no effect: {_TOGETHER}, which is Mage's", hint)
    if runtime != "mage":
        return
    if any(any(callbacks_of(pipeline, block)) for block in pipeline.blocks.values()):
        yield Problem("pipeline: callbacks", "are not called: `mage run` of a whole pipeline calls nobody back")
    if request.allow_blocks_to_fail:
        yield Problem("request: allow_blocks_to_fail", f"has no effect: {_TOGETHER}, which is Mage's")


def _apart(above: Configuration, below: Configuration) -> bool:
    if (above.executor_type, above.common.pool) == (below.executor_type, below.common.pool):
        return False
    return not (above.common.shared or below.common.shared)

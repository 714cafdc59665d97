"""What a task does besides its block's own code, and the tasks that do so where the block's own job can't.

Conditions and callbacks run in the job of their block (DESIGN §7). Before a block that Mage runs, the conditions are a
task of their own, since Mage does not say whether they were met. After a job that never started, or was killed, its
failure or cancelled callbacks are one; after a whole pipeline in one process it is for all blocks that had begun (see
`runtime.notes`). Both run on `local_python`, in the native runtime.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from runmesh.errors import Problem
from runmesh.projects import Block, Pipeline
from runmesh.projects.addons import STATUSES, conditions_of
from runmesh.projects.fanout import Kind, is_child, role
from runmesh.resolver.choice import ExecutorChoice, Level
from runmesh.resolver.configuration import Configuration
from runmesh.resolver.explanation import BlockExplanation, PipelineExplanation
from runmesh.subjects import CALLBACK, CONDITION, WHOLE_PIPELINE

LOCAL: Final = ExecutorChoice("local_python", Level.DEFAULT, None)
TIMEOUT: Final = 600.0
"""Seconds that such a task may take, where its block has no timeout: the run's end waits for it."""
_RESERVED: Final = (CALLBACK, CONDITION)


def is_conditional(pipeline: Pipeline, block: Block) -> bool:
    """Say whether a block has conditions."""
    return any(conditions_of(pipeline, block))


def with_callbacks(
    whole: PipelineExplanation, blocks: Mapping[str, BlockExplanation], configuration: Configuration, variables: str
) -> PipelineExplanation:
    """Return a pipeline in one process with what its blocks call back for; without, where nobody can know for which."""
    found = {status for block in blocks.values() for status in block.callbacks}
    if not found or configuration.common.runtime == "mage":
        return whole
    if not _out_of_reach(configuration, variables):
        return replace(whole, callbacks=tuple(status for status in STATUSES if status in found))
    reason = f"which blocks have begun is stored locally on {configuration.executor_type}"
    message = f"if the one process is stopped or killed, nobody calls back for its blocks: {reason}"
    hint = "set remote_variables_dir, or `shared: true` in its executor_config"
    return replace(whole, warnings=(*whole.warnings, Problem("pipeline: callbacks", message, hint)))


def inputs_of(block: Block, parts: Mapping[str, Sequence[Kind]]) -> dict[str, Kind]:
    """Return what a block gets of its upstream blocks, nothing where that is all of everything."""
    kinds = parts.get(block.uuid, ())
    if set(kinds) <= {Kind.WHOLE}:
        return {}
    return dict(zip(block.upstream_blocks, kinds, strict=True))


def needs_outcome(block: Block, configuration: Configuration, variables: str) -> Iterator[Problem]:
    """Yield why nobody could read the outcome of this block: it is left on another machine's disk (DESIGN §7)."""
    if _out_of_reach(configuration, variables):
        message = (
            f"it is dynamic or has conditions, and runs on {configuration.executor_type}: its outcome is stored locally"
        )
        hint = "set remote_variables_dir, or `shared: true` in its executor_config"
        yield Problem(f"block {block.uuid}", message, hint)


def after_conditions(uuid: str, block: BlockExplanation, steps: Collection[str]) -> BlockExplanation:
    """Return what is known of a block, after the task that asks its conditions if there is one."""
    condition = f"{CONDITION}{uuid}"
    return replace(block, upstream=(*block.upstream, condition)) if condition in steps else block


def _out_of_reach(configuration: Configuration, variables: str) -> bool:
    local = configuration.executor_type == LOCAL.executor_type
    return not local and "://" not in variables and not configuration.common.shared


def refused(pipeline: Pipeline, selected: Collection[str], parts: Mapping[str, Sequence[Kind]]) -> Iterator[Problem]:
    """Yield what names would be taken for tasks of ours, and children whose dynamic block doesn't run with them."""
    for uuid in selected:
        block = pipeline.blocks[uuid]
        if uuid == WHOLE_PIPELINE or uuid.startswith(_RESERVED):
            yield Problem(f"block {uuid}: uuid", f"names that begin as {uuid[:12]!r} are the mesh's own", "rename it")
        if role(block).dynamic and block.type == "sensor":
            yield Problem(f"block {uuid}: configuration.dynamic", "a sensor has no output: it can't be dynamic")
        if ":" in uuid and is_child(parts.get(uuid, ())):
            message = "its children are called as itself, a ':' and their own name: it can't have a ':' itself"
            yield Problem(f"block {uuid}: uuid", message, "rename it")
        for name, kind in inputs_of(block, parts).items():
            if kind is not Kind.WHOLE and name not in selected:
                message = f"{uuid!r} runs once per item of {name!r}, which is not asked for"
                yield Problem("request: blocks", message, f"add {name!r}, or `upstream`")

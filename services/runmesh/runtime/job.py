"""The blocks of one command: which they are, whether this runtime can run them, and running them in order."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects import (
    Block,
    Pipeline,
    Project,
    check_graph,
    load_pipeline,
    load_project,
    revision,
    topological_order,
    variables_of,
)
from runmesh.runtime.arguments import Arguments
from runmesh.runtime.code import Code, Source
from runmesh.runtime.failed import Failed
from runmesh.runtime.keywords import keywords
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.outputs import Outputs, clean_name

RUNNABLE: Final = frozenset({"data_loader", "transformer", "data_exporter", "custom", "sensor"})
NEVER_RUN: Final = frozenset({"chart", "markdown", "scratchpad"})
"""Mage leaves these out when it runs a pipeline."""
PIPELINE_TYPES: Final = frozenset({"python", "pyspark"})
_MAGE: Final = "set `runtime: mage` to have Mage run it"


class Job(NamedTuple):
    """What a command asks for, found and checked."""

    project: Project
    pipeline: Pipeline
    blocks: tuple[Block, ...]
    arguments: Arguments
    variables: str
    outputs: Outputs
    outcome: Outcome
    context: dict[str, Any]
    """What the blocks of this process share (Mage's `context`)."""

    def run(self) -> None:
        """Run the blocks, one after another; raises `Failed` or `Invalid` for the first that fails."""
        for block in self.blocks:
            self._run(block)

    def _run(self, block: Block) -> None:
        if block.type == "sensor" and self.arguments.skip_sensors:
            self._keep(block, [])
            return
        inputs = [self._input(self.pipeline.blocks[uuid]) for uuid in block.upstream_blocks]
        named = keywords(self.project, self.pipeline, block, self.arguments, self.context)
        code = Code(_source(self.project, self.pipeline, block))
        if block.type == "sensor":
            code.sense(inputs, named, self.arguments.sensor_interval)
            results: list[Any] = []
        else:
            results = code.run(inputs, named)
        self._keep(block, results)
        if self.arguments.block_uuid or self.arguments.test:
            self._test(block, code, results, named)

    def _input(self, upstream: Block) -> Any:
        return [] if upstream.type == "sensor" else self.outputs.read(upstream)

    def _keep(self, block: Block, results: list[Any]) -> None:
        described = self.outputs.write(block, results)
        if self.arguments.block_uuid:
            self.outcome.outputs.extend(described)

    def _test(self, block: Block, code: Code, results: list[Any], named: Mapping[str, Any]) -> None:
        tested = code.test(results, named)
        self.outcome.passed += tested.passed
        self.outcome.failed += tested.failed
        if tested.failed:
            raise Failed(f"block {block.uuid!r}: {tested.failed} of {tested.passed + tested.failed} tests failed")


def prepare(arguments: Arguments, environment: Mapping[str, str]) -> Job:
    """Read the project and the pipeline and find what to run; raises `Invalid` for whatever is wrong with them."""
    project = load_project(_directory(arguments.project_path), environment)
    pipeline = load_pipeline(project, arguments.pipeline_document or arguments.pipeline)
    check_graph(pipeline)
    blocks = _blocks(pipeline, arguments.block_uuid)
    if problems := [problem for block in blocks for problem in _problems(pipeline, block)]:
        raise Invalid(*problems)
    variables = variables_of(project, pipeline, environment, arguments.variables_dir)
    outputs = Outputs(variables, pipeline.uuid, arguments.execution_partition)
    outcome = Outcome(warnings=_warnings(project, arguments))
    return Job(project, pipeline, blocks, arguments, variables, outputs, outcome, {})


def _directory(path: str) -> Path:
    directory = Path(path)
    if not directory.is_dir():
        raise Invalid(Problem("PROJECT_PATH", f"there is no directory {path}"))
    return directory.resolve()


def _blocks(pipeline: Pipeline, uuid: str | None) -> tuple[Block, ...]:
    if uuid is None:
        return tuple(
            block for name in topological_order(pipeline) if (block := pipeline.blocks[name]).type not in NEVER_RUN
        )
    if uuid not in pipeline.blocks:
        hint = nearest(uuid, pipeline.blocks)
        raise Invalid(Problem("--block-uuid", f"pipeline {pipeline.uuid} has no block {uuid!r}", hint))
    return (pipeline.blocks[uuid],)


def _problems(pipeline: Pipeline, block: Block) -> Iterable[Problem]:
    """Say what keeps this runtime from running a block, and would else go wrong without a word."""
    where = f"block {block.uuid}"
    kind = f"{block.language} {block.type}"
    if pipeline.type not in PIPELINE_TYPES:
        yield Problem(where, f"the native runtime runs no blocks of {pipeline.type} pipelines", _MAGE)
    elif block.type not in RUNNABLE or block.language != "python":
        yield Problem(where, f"the native runtime can't run a {kind} block", _MAGE)
    if any(_is_dynamic(pipeline.blocks[uuid]) for uuid in (block.uuid, *block.upstream_blocks)):
        yield Problem(where, "the native runtime doesn't run dynamic blocks, or the blocks below them, yet", _MAGE)
    if attached := [*_attached(pipeline, block)]:
        names = ", ".join(attached)
        yield Problem(where, f"the native runtime doesn't run conditions and callbacks yet ({names})", _MAGE)
    cleaned = clean_name(block.uuid)
    for other in pipeline.blocks:
        if other != block.uuid and clean_name(other) == cleaned:
            yield Problem(where, f"its outputs would be those of block {other}, too ({cleaned})", "rename one of them")


def _is_dynamic(block: Block) -> bool:
    return bool(block.configuration.get("dynamic"))


def _attached(pipeline: Pipeline, block: Block) -> Iterable[str]:
    for addon in (*pipeline.callbacks.values(), *pipeline.conditionals.values()):
        if block.uuid in addon.upstream_blocks:
            yield addon.uuid
    if block.has_callback:
        yield f"{block.uuid}_callback"


def _warnings(project: Project, arguments: Arguments) -> list[str]:
    if not arguments.revision or (found := revision(project.path)) == arguments.revision:
        return []
    return [f"this copy of the project is revision {found}, the run was planned with {arguments.revision}"]


def _source(project: Project, pipeline: Pipeline, block: Block) -> Source:
    text, path = project.block_source(block), project.block_file(block)
    if text is None:
        raise Invalid(Problem(f"block {block.uuid}", f"there is no file {project.block_path(block)}"))
    if path is None:
        name = f"{project.name}.{block.type}s.{clean_name(block.uuid)}"
        return Source(block.uuid, block.type, text, f"<{pipeline.uuid}/{block.uuid}>", name)
    below = os.path.splitext(os.path.relpath(path, project.path))[0]  # noqa: PTH122
    return Source(block.uuid, block.type, text, str(path), f"{project.name}.{below.replace('/', '.')}")

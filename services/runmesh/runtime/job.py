"""What one command is about: its project, pipeline and block, found and read, and what its blocks share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects import (
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
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.outputs import Outputs
from runmesh.runtime.sources import Sources
from runmesh.runtime.steps import Step, read_step

if TYPE_CHECKING:
    from runmesh.runtime.kept import Kept
    from runmesh.runtime.notes import Notes


class Job(NamedTuple):
    """What a command asks for; `step` is None for a whole pipeline."""

    project: Project
    pipeline: Pipeline
    step: Step | None
    arguments: Arguments
    variables: str
    outputs: "Outputs | Kept"
    sources: Sources
    outcome: Outcome
    context: dict[str, Any]
    """What the blocks of this process share (Mage's `context`)."""
    notes: "Notes | None" = None
    """A whole pipeline's, for whoever comes after a process that was killed."""

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure is for good."""
        return self.arguments.attempt > self.arguments.retries

    @property
    def wants_tests(self) -> bool:
        """A single block's tests always run, those of a whole pipeline in a run of the mesh, or if asked for."""
        asked = self.arguments.test
        return self.step is not None or (bool(self.arguments.run) if asked is None else asked)


def prepare(arguments: Arguments, environment: Mapping[str, str]) -> Job:
    """Read the project and the pipeline and find what to run; raises `Invalid` for whatever is wrong with them."""
    project = load_project(_directory(arguments.project_path), environment)
    pipeline = load_pipeline(project, arguments.pipeline_document or arguments.pipeline)
    check_graph(pipeline)
    variables = variables_of(project, pipeline, environment, arguments.variables_dir)
    return Job(
        project=project,
        pipeline=pipeline,
        step=_step(pipeline, arguments),
        arguments=arguments,
        variables=variables,
        outputs=Outputs(variables, pipeline.uuid, arguments.execution_partition),
        sources=Sources(project, pipeline),
        outcome=Outcome(warnings=_warnings(project, arguments)),
        context={},
    )


def _directory(path: str) -> Path:
    directory = Path(path)
    if not directory.is_dir():
        raise Invalid(Problem("PROJECT_PATH", f"there is no directory {path}"))
    return directory.resolve()


def _step(pipeline: Pipeline, arguments: Arguments) -> Step | None:
    uuid, index = arguments.block_uuid, arguments.dynamic_index
    if uuid is None:
        return None
    block = pipeline.blocks.get(uuid) or pipeline.blocks.get(uuid.partition(":")[0])
    if block is None:
        hint = nearest(uuid, pipeline.blocks)
        raise Invalid(Problem("--block-uuid", f"pipeline {pipeline.uuid} has no block {uuid!r}", hint))
    if arguments.callbacks and index is None:  # they get no inputs
        return Step(block)
    if not any(other.configuration.get("dynamic") for other in pipeline.blocks.values()):
        return read_step(block, ["whole"] * len(block.upstream_blocks), index)
    from runmesh.projects.fanout import kinds  # noqa: PLC0415 - few pipelines are dynamic

    return read_step(block, kinds(pipeline, topological_order(pipeline))[block.uuid], index)


def _warnings(project: Project, arguments: Arguments) -> list[str]:
    if not arguments.revision or (found := revision(project.path)) == arguments.revision:
        return []
    return [f"this copy of the project is revision {found}, the run was planned with {arguments.revision}"]

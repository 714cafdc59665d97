"""What conditional and callback blocks get: the keyword arguments of the block that they belong to, and a few more."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from runmesh.projects import Block
from runmesh.runtime.job import Job
from runmesh.runtime.keywords import keywords
from runmesh.runtime.steps import Step


class PipelineRun(NamedTuple):
    """What conditions and callbacks get as `pipeline_run`: of Mage's record, the columns that say what this run is."""

    id: str | None
    pipeline_uuid: str
    execution_date: datetime
    execution_partition: str | None
    variables: Mapping[str, Any]
    event_variables: Mapping[str, Any]
    status: str = "running"


def addon_keywords(job: Job, step: Step, addon: Block) -> dict[str, Any]:
    """Return the keywords of an addon of a block, or of one of its children."""
    arguments = job.arguments
    run = PipelineRun(
        id=arguments.run or arguments.pipeline_run_id,
        pipeline_uuid=job.pipeline.uuid,
        execution_date=arguments.execution_date,
        execution_partition=arguments.execution_partition,
        variables=arguments.runtime_vars,
        event_variables=arguments.event,
    )
    parent = keywords(job.project, job.pipeline, step.block, arguments, job.context, step.child)
    return {**parent, "block_uuid": addon.uuid, "parent_block_uuid": step.block.uuid, "pipeline_run": run}

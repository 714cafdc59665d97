"""The keyword arguments of block functions: Mage's names, values and precedence."""

from typing import Any

from runmesh.projects import Block, Pipeline, Project
from runmesh.runtime.arguments import Arguments


def keywords(
    project: Project, pipeline: Pipeline, block: Block, arguments: Arguments, context: dict[str, Any]
) -> dict[str, Any]:
    """Return what a function with `**kwargs` gets, rising in precedence: variables, the run's facts, the block's.

    `context` is the dict that all blocks of one process share.
    """
    date = arguments.execution_date
    variables = {**pipeline.variables, **arguments.runtime_vars}
    event = variables.get("event")
    return {
        **variables,
        "ds": date.strftime("%Y-%m-%d"),
        "hr": date.strftime("%H"),
        "env": "prod",
        "event": event if isinstance(event, dict) else {},
        "execution_date": date,
        "execution_partition": arguments.execution_partition,
        "pipeline_run_id": arguments.run or arguments.pipeline_run_id,
        "trigger_name": arguments.trigger_name,
        "logger": _Logger(),
        "retry": {"attempts": arguments.attempt},
        "configuration": block.configuration,
        "context": context,
        "pipeline_uuid": pipeline.uuid,
        "block_uuid": block.uuid,
        "repo_path": str(project.path),
    }


class _Logger:
    """The logger that blocks get, which imports `logging` at its first use: that takes longer than a small block."""

    def __getattr__(self, name: str) -> Any:
        from runmesh.runtime.logger import logger  # noqa: PLC0415

        return getattr(logger(), name)

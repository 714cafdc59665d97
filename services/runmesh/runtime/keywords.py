"""The keyword arguments of block functions: Mage's names, values and precedence."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from runmesh.projects import Block, Pipeline, Project
from runmesh.runtime.arguments import Arguments
from runmesh.runtime.failed import say

_DATES: Final = ("interval_start_datetime", "interval_end_datetime", "interval_start_datetime_previous")


def keywords(
    project: Project,
    pipeline: Pipeline,
    block: Block,
    arguments: Arguments,
    context: dict[str, Any],
    index: int | None = None,
) -> dict[str, Any]:
    """Return what a function with `**kwargs` gets, later beats earlier: event, variables, run, block.

    `context` is the dict that all blocks of one process share, `index` that of a dynamic child. There is `spark` where
    spark-submit started the process, `interval_*` only if the run's variables hold them: no trigger has a schedule.
    """
    date = arguments.execution_date
    variables = {**arguments.event, **pipeline.variables, **arguments.runtime_vars}
    event = variables.get("event")
    return {
        **variables,
        **_intervals(variables),
        "ds": date.strftime("%Y-%m-%d"),
        "hr": date.strftime("%H"),
        "env": "prod",
        "event": {**(event if isinstance(event, dict) else {}), **arguments.event},
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
        **({} if index is None else {"dynamic_block_index": index}),
        **({"spark": _spark()} if arguments.spark else {}),
    }


def _intervals(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Read the dates among the interval's variables, as Mage does; what is none stays as it is."""
    found = {}
    for name in _DATES:
        if isinstance(text := variables.get(name), str):
            try:
                found[name] = datetime.fromisoformat(text)
            except ValueError:
                say(f"warning: the variable {name} is no date: {text[:100]!r}")
    return found


def _spark() -> Any:
    from runmesh.runtime.spark import session  # noqa: PLC0415 - few processes have one

    return session()


class _Logger:
    """The logger that blocks get, which imports `logging` at its first use: that takes longer than a small block."""

    def __getattr__(self, name: str) -> Any:
        from runmesh.runtime.logger import logger  # noqa: PLC0415

        return getattr(logger(), name)

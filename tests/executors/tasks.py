"""A task as a worker gives it to an executor."""

from collections.abc import Mapping
from types import MappingProxyType

from runmesh.executor import ConfigT, Task


def task_of(
    config: ConfigT,
    *command: str,
    key: str = "key",
    attempt: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Task[ConfigT]:
    """Make the task that runs a command as block `load` of pipeline `daily` of project `shop`."""
    return Task(
        key=key,
        run="run-1",
        block="load",
        attempt=attempt,
        resubmission=0,
        project="shop",
        pipeline="daily",
        command=command,
        environment=environment,
        config=config,
    )

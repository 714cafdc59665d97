"""What an operator may set for the ECS workers, in their environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from runmesh.platforms.environment import names, number

CLUSTERS: Final = "RUNMESH_ECS_CLUSTERS"
LAUNCHES: Final = "RUNMESH_ECS_LAUNCH_RATE"
POLL: Final = "RUNMESH_ECS_POLL_INTERVAL"
LOG_READS: Final = "RUNMESH_ECS_LOG_RATE"
_LEAST: Final = 0.01
"""Of a rate, and of seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one worker."""

    clusters: tuple[str, ...]
    """Where tasks of ours may be that nobody knows of: they are cleared up from the start."""
    launches: float
    """RunTask calls a second: the account may start 20 tasks a second on Fargate, after a hundred at once."""
    poll: float
    """Seconds between two looks at the tasks while they change."""
    log_reads: float
    """Reads of logs a second: an account has 25 in a region."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. Raises `Invalid`."""
        return cls(
            clusters=names(environment, CLUSTERS),
            launches=number(environment, LAUNCHES, 15.0, least=_LEAST),
            poll=number(environment, POLL, 2.0, least=_LEAST),
            log_reads=number(environment, LOG_READS, 10.0, least=_LEAST),
        )

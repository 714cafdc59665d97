"""What an operator may set for the Cloud Run workers, in their environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from runmesh.errors import Invalid, Problem
from runmesh.platforms.environment import names, number

CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
PLACES: Final = "RUNMESH_CLOUD_RUN_PLACES"
WRITES: Final = "RUNMESH_CLOUD_RUN_WRITE_RATE"
POLL: Final = "RUNMESH_CLOUD_RUN_POLL_INTERVAL"
LOG_READS: Final = "RUNMESH_CLOUD_RUN_LOG_RATE"
LOG_SETTLE: Final = "RUNMESH_CLOUD_RUN_LOG_SETTLE"
_LEAST: Final = 0.01
"""Of a rate, and of seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one worker."""

    service: str | None
    """The service that jobs take after."""
    places: tuple[tuple[str, str], ...]
    """Projects and regions where jobs of ours may be that nobody knows of: they are cleared up from the start."""
    writes: float
    """Jobs created and deleted a second: a project has 180 a minute in a region."""
    poll: float
    """Seconds between two looks at the jobs."""
    log_reads: float
    """Reads of Cloud Logging a second: a project has 60 a minute."""
    log_settle: float
    """Seconds for which a line may be overtaken by a later one."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. Raises `Invalid`."""
        return cls(
            service=environment.get("GCP_SERVICE_NAME") or None,
            places=tuple(map(_place, names(environment, PLACES))),
            writes=number(environment, WRITES, 3.0, least=_LEAST),
            poll=number(environment, POLL, 3.0, least=_LEAST),
            log_reads=number(environment, LOG_READS, 0.8, least=_LEAST),
            log_settle=number(environment, LOG_SETTLE, 5.0, least=_LEAST),
        )


def _place(text: str) -> tuple[str, str]:
    project, slash, region = text.partition("/")
    if not (project and slash and region):
        raise Invalid(Problem(PLACES, f"must be like my-project/europe-west1, not {text!r}"))
    return project, region

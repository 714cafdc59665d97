"""What all parts of one worker share."""

from dataclasses import dataclass, field

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.executor import ExecutorConfig
from runmesh.settings import Settings
from runmesh.worker.claims import Claims
from runmesh.worker.jobs import Jobs
from runmesh.worker.lease import Lease
from runmesh.worker.platform import Platform


@dataclass(slots=True)
class Station:
    """One worker process of one executor type and pool: who it is, what it holds, and its connections."""

    bus: Bus
    settings: Settings
    executor_type: str
    pool: str
    worker_id: str
    config_model: type[ExecutorConfig]
    platform: Platform
    lease: Lease
    claims: Claims
    jobs: Jobs = field(default_factory=Jobs)
    leave_by: float | None = None
    """Set once the worker drains: when it lets go of its jobs (by `clock`)."""

    @property
    def service(self) -> str:
        """The name under which this worker's dead letters are found."""
        return subjects.worker_service(self.executor_type)

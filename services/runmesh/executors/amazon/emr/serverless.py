"""EMR Serverless: jobs of an application. Its client token is the task's key, so a second start finds the first."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

from runmesh.executor import Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr import cluster
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.naming import Mark, mark_of, step_name
from runmesh.executors.amazon.emr.step import job_driver
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.amazon.session import Amazon

_SERVICE: Final = "emr-serverless"
_NEVER: Final = 0
"""Minutes that a job may take, for EMR Serverless: the mesh has a timeout of its own."""
_ALIVE: Final = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "CANCELLING", "QUEUED")
_NOTHING_TO_CANCEL: Final = frozenset({"ResourceNotFoundException", "ValidationException", "ConflictException"})

Json = dict[str, Any]


def driver_log(job: Json) -> str | None:
    """Return where EMR puts what a job's driver writes to stderr."""
    monitored = (job.get("configurationOverrides") or {}).get("monitoringConfiguration") or {}
    log_uri = (monitored.get("s3MonitoringConfiguration") or {}).get("logUri")
    if not log_uri:
        return None
    return f"{log_uri.rstrip('/')}/applications/{job['applicationId']}/jobs/{job['jobRunId']}/SPARK_DRIVER/stderr.gz"


class Serverless:
    """The calls about jobs. All raise `Refused` and ConnectionError."""

    def __init__(self, amazon: Amazon, access: Access, mesh: str, pool: str) -> None:
        self._amazon, self._access = amazon, access
        self._mesh, self._pool = mesh, pool

    async def start(self, task: Task[Config], mark: Mark, *, script: str, code: str | None, log_uri: str) -> str:
        """Start a task's job, or return the one that its key has."""
        config = task.config
        answer = await self._amazon.call(
            _SERVICE,
            self._access,
            "start_job_run",
            applicationId=config.application_id,
            clientToken=task.key,
            name=step_name(task, mark),
            executionRoleArn=config.execution_role_arn,
            jobDriver=job_driver(task, script, code),
            configurationOverrides={
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{log_uri}/"}}
            },
            tags={**config.tags, **cluster.tags(self._mesh, self._pool)},
            executionTimeoutMinutes=_NEVER,
        )
        found: str = answer["jobRunId"]
        return found

    async def find(self, application: str, mark: Mark, since: datetime) -> str | None:
        """Return the job of a key that was started since then, whatever became of it."""
        async for found, job in self._jobs(application, createdAtAfter=since):
            if found == mark:
                return job
        return None

    async def job(self, application: str, job: str) -> Json:
        """Describe a job."""
        answer = await self._read("get_job_run", applicationId=application, jobRunId=job)
        found: Json = answer["jobRun"]
        return found

    async def cancel(self, application: str, job: str) -> None:
        """Ask a job to stop, unless it has ended or isn't known: what it is doing tells."""
        try:
            await self._read("cancel_job_run", applicationId=application, jobRunId=job)
        except Refused as refused:
            if refused.code not in _NOTHING_TO_CANCEL:
                raise

    async def alive(self, application: str) -> AsyncIterator[tuple[Mark, str]]:
        """Yield the jobs of an application that are of a mesh, and have not ended."""
        async for found in self._jobs(application, states=list(_ALIVE)):
            yield found

    async def applications(self) -> AsyncIterator[str]:
        """Yield all applications that there are."""
        async for application in self._pages("list_applications", "applications"):
            yield application["id"]

    async def _jobs(self, application: str, **which: Any) -> AsyncIterator[tuple[Mark, str]]:
        async for job in self._pages("list_job_runs", "jobRuns", applicationId=application, **which):
            if mark := mark_of(job.get("name") or ""):
                yield mark, job["id"]

    def _pages(self, operation: str, what: str, **arguments: Any) -> AsyncIterator[Json]:
        return self._amazon.pages(_SERVICE, self._access, operation, what, **arguments)

    async def _read(self, operation: str, **arguments: Any) -> Json:
        return await self._amazon.read(_SERVICE, self._access, operation, **arguments)

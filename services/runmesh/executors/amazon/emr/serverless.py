"""EMR Serverless: jobs of an application. Its client token is the task's key, so a second start finds the first."""

from collections.abc import AsyncIterator
from typing import Any

from runmesh.executor import Task
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr import cluster
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.naming import Mark, mark_of, step_name
from runmesh.executors.amazon.emr.step import job_driver
from runmesh.executors.amazon.session import Amazon

_SERVICE = "emr-serverless"
_NEVER = 0
"""Minutes that a job may take, for EMR Serverless: the mesh has a timeout of its own."""
_ALIVE = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "CANCELLING", "QUEUED")

Json = dict[str, Any]


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

    async def find(self, application: str, mark: Mark) -> str | None:
        """Return the job of a key, whatever became of it."""
        async for job in self._jobs(application):
            if mark_of(job["name"]) == mark:
                found: str = job["id"]
                return found
        return None

    async def job(self, application: str, job: str) -> Json:
        """Describe a job."""
        answer = await self._read("get_job_run", applicationId=application, jobRunId=job)
        found: Json = answer["jobRun"]
        return found

    async def cancel(self, application: str, job: str) -> None:
        """Ask a job to stop."""
        await self._read("cancel_job_run", applicationId=application, jobRunId=job)

    async def alive(self, application: str) -> AsyncIterator[tuple[Mark, Json]]:
        """Yield the jobs of an application that are ours and have not ended."""
        async for job in self._jobs(application, states=list(_ALIVE)):
            mark = mark_of(job["name"])
            if mark and (mark.mesh, mark.pool) == (self._mesh, self._pool):
                yield mark, job

    async def _jobs(self, application: str, **which: Any) -> AsyncIterator[Json]:
        more: dict[str, str] = {}
        while True:
            page = await self._read("list_job_runs", applicationId=application, **which, **more)
            for job in page.get("jobRuns") or ():
                yield job
            if not page.get("nextToken"):
                return
            more = {"nextToken": page["nextToken"]}

    async def _read(self, operation: str, **arguments: Any) -> Json:
        return await self._amazon.read(_SERVICE, self._access, operation, **arguments)

"""The services on one port, with TLS, for whoever has a token that the service account's key has signed."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from google.auth import jwt
from google.cloud import run_v2
from google.cloud.logging_v2 import types as logged
from google.longrunning.operations_pb2 import Operation

from tests.emulators.certificates import new_certificate
from tests.emulators.faults import Faults
from tests.emulators.google.checks import check
from tests.emulators.google.keys import PROJECT, account
from tests.emulators.google.lines import Lines
from tests.emulators.google.refusals import GoogleError, broken_off
from tests.emulators.google.runs import Agent, Run

_RUN: Final = "google.cloud.run.v2"
_METHODS: Final[dict[tuple[str, str], Any]] = {
    (f"{_RUN}.Jobs", "CreateJob"): run_v2.CreateJobRequest,
    (f"{_RUN}.Jobs", "GetJob"): run_v2.GetJobRequest,
    (f"{_RUN}.Jobs", "ListJobs"): run_v2.ListJobsRequest,
    (f"{_RUN}.Jobs", "DeleteJob"): run_v2.DeleteJobRequest,
    (f"{_RUN}.Executions", "GetExecution"): run_v2.GetExecutionRequest,
    (f"{_RUN}.Executions", "ListExecutions"): run_v2.ListExecutionsRequest,
    (f"{_RUN}.Executions", "CancelExecution"): run_v2.CancelExecutionRequest,
    (f"{_RUN}.Tasks", "ListTasks"): run_v2.ListTasksRequest,
    (f"{_RUN}.Services", "GetService"): run_v2.GetServiceRequest,
    ("google.logging.v2.LoggingServiceV2", "ListLogEntries"): logged.ListLogEntriesRequest,
}


_decode: Final[Any] = jwt.decode


class Api:
    """All that answers on the port."""

    def __init__(self, agent: Agent, lines: Lines) -> None:
        self.runs: dict[str, Run] = {}
        self.history: list[Run] = []
        self.services: dict[str, Any] = {}
        self.faults = Faults()
        self.certificate = new_certificate()
        self.calls: Counter[str] = Counter()
        self.projects = {PROJECT}
        self.quota, self.page = 1000, 1000
        self.silent = False
        """Whether jobs don't say what their executions are doing."""
        self._agent, self._lines = agent, lines

    async def listen(self, port: int) -> tuple[grpc.aio.Server, int]:
        """Return a server that answers on a port, any if it is 0, and the port."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        for (service, method), request in _METHODS.items():
            handler = grpc.unary_unary_rpc_method_handler(
                self._handler(method),
                request_deserializer=request.pb().FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        tls = grpc.ssl_server_credentials([(self.certificate.key, self.certificate.certificate)])
        port = server.add_secure_port(f"127.0.0.1:{port}", tls)
        await server.start()
        return server, port

    def _handler(self, method: str) -> Callable[[Any, Any], Awaitable[Any]]:
        answer = getattr(self, _snake(method))

        async def handle(request: Any, context: Any) -> Any:
            self.calls[method] += 1
            try:
                _check_token(context)
                return await self.faults.around(method, lambda: answer(request), broken_off)
            except GoogleError as error:
                await context.abort(error.code, error.message)

        return handle

    # --- jobs ---------------------------------------------------------------------------------------

    async def create_job(self, asked: Any) -> Any:
        """Create a job, and start it."""
        self._check_place(asked.parent)
        check(asked.parent, asked.job_id, asked.job)
        name = f"{asked.parent}/jobs/{asked.job_id}"
        if name in self.runs:
            raise GoogleError("ALREADY_EXISTS", f"Resource '{asked.job_id}' already exists.")
        if len(self.runs) >= self.quota:
            raise GoogleError("RESOURCE_EXHAUSTED", "Quota exceeded for total allowable count of jobs per project.")
        run = Run(name, asked.job)
        self.runs[name] = run
        self.history.append(run)
        self._agent.begin(run, lambda: self._forget(name))
        return _operation(run.job)

    async def get_job(self, asked: Any) -> Any:
        """Return a job."""
        return self._told(self._run(asked.name))

    async def list_jobs(self, asked: Any) -> Any:
        """Return a page of jobs."""
        self._check_place(asked.parent)
        found = [run for name, run in self.runs.items() if name.startswith(f"{asked.parent}/")]
        first, size = int(asked.page_token or 0), min(self.page, asked.page_size)
        more = str(first + size) if first + size < len(found) else ""
        jobs = [self._told(run) for run in found[first : first + size]]
        return run_v2.ListJobsResponse.pb()(jobs=jobs, next_page_token=more)

    async def delete_job(self, asked: Any) -> Any:
        """Delete a job, and end its execution."""
        run = self._run(asked.name)
        run.job.delete_time.GetCurrentTime()
        run.deleted.set()
        self._agent.cancel(run)
        if run.ended and not self._agent.slow_delete:
            self._forget(asked.name)
        return _operation(run.job)

    # --- executions ---------------------------------------------------------------------------------

    async def get_execution(self, asked: Any) -> Any:
        """Return an execution."""
        return self._execution(asked.name).execution

    async def list_executions(self, asked: Any) -> Any:
        """Return all executions of a place."""
        place, job = asked.parent.split("/jobs/")
        if job != "-":
            raise GoogleError("INVALID_ARGUMENT", f"parent: {asked.parent}")
        found = [run.execution for name, run in self.runs.items() if run.execution and name.startswith(f"{place}/")]
        return run_v2.ListExecutionsResponse.pb()(executions=found)

    async def cancel_execution(self, asked: Any) -> Any:
        """Cancel an execution."""
        run = self._execution(asked.name)
        if run.ended:
            raise GoogleError("FAILED_PRECONDITION", "The execution has completed already.")
        self._agent.cancel(run)
        return _operation(run.execution)

    async def list_tasks(self, asked: Any) -> Any:
        """Return the task."""
        return run_v2.ListTasksResponse.pb()(tasks=[self._execution(asked.parent).task])

    async def get_service(self, asked: Any) -> Any:
        """Return a service."""
        if asked.name not in self.services:
            raise _missing(asked.name, "SERVICE")
        return self.services[asked.name]

    async def list_log_entries(self, asked: Any) -> Any:
        """Return a page of lines."""
        return self._lines.answer(asked)

    # --- parts --------------------------------------------------------------------------------------

    def _told(self, run: Run) -> Any:
        if not self.silent:
            return run.job
        told = type(run.job)()
        told.CopyFrom(run.job)
        told.latest_created_execution.completion_status = 0
        return told

    def _run(self, name: str) -> Run:
        if name not in self.runs:
            raise _missing(name, "JOB")
        return self.runs[name]

    def _execution(self, name: str) -> Run:
        run = self.runs.get(name.partition("/executions/")[0])
        if run is None or run.execution is None or run.execution.name != name:
            raise _missing(name, "EXECUTION")
        return run

    def _forget(self, name: str) -> None:
        self.runs.pop(name, None)

    def _check_place(self, parent: str) -> None:
        _, project, _, region = parent.split("/")
        if project not in self.projects:
            told = f"Permission 'run.jobs.create' denied on resource 'projects/{project}' (or resource may not exist)."
            raise GoogleError("PERMISSION_DENIED", told)
        if not region.startswith(("europe-", "us-")):
            raise GoogleError("PERMISSION_DENIED", f"Location {region} is not found or access is unauthorized.")


def _check_token(context: Any) -> None:
    """Refuse whoever has no token, or one of another key."""
    given = dict(context.invocation_metadata()).get("authorization", "")
    try:
        _decode(given.removeprefix("Bearer "), certs=account().public)
    except ValueError as error:
        told = f"Request had invalid authentication credentials. {error}"
        raise GoogleError("UNAUTHENTICATED", told) from error


def _missing(name: str, kind: str) -> GoogleError:
    return GoogleError("NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' of kind '{kind}' does not exist.")


def _operation(message: Any) -> Any:
    operation = Operation(name=f"{message.name}/operations/1")
    operation.metadata.Pack(message)
    return operation


def _snake(method: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in method).lstrip("_")

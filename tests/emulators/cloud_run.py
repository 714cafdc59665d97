"""Google Cloud with one Cloud Run that runs commands as local processes: an endpoint for the real SDK.

    python -m tests.emulators.cloud_run SOCKET [--hollow]

As a process it is found, asked and ended as `serving.py` says; in its environment file workers find the address, the
certificates that they are to trust, and the credentials of a service account. With ``--hollow`` no process is started
for any job: an execution ends when it is told to.

What it is faithful to: `tests/emulators/google/`. Images, accounts and networks are not there; a command runs on this
machine, with this machine's files.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc.aio
from google.cloud import run_v2

from runmesh.executor import Handle
from runmesh.executors.google import naming
from tests.emulators.containers import BARE
from tests.emulators.google.api import Api
from tests.emulators.google.keys import PROJECT, account
from tests.emulators.google.lines import Lines
from tests.emulators.google.runs import Agent, Run
from tests.emulators.hosting import hosted, start
from tests.emulators.serving import Answer, Request, inherited, serve

REGION: Final = "europe-west1"
CONFIG: Final[dict[str, Any]] = {"project_id": PROJECT, "region": REGION, "image": "etl:1"}
"""What a task must say of its place."""
SERVICE: Final = f"projects/{PROJECT}/locations/{REGION}/services/mage"


class Cloud:
    """Everything but the port, which may come and go."""

    def __init__(self, directory: Path, inherited: Mapping[str, str], *, hollow: bool = False) -> None:
        self.lines = Lines()
        self.agent = Agent(directory, {**BARE, **inherited}, self._printed, hollow=hollow)
        self.api = Api(self.agent, self.lines)
        self.directory, self._port = directory, 0
        self._server: grpc.aio.Server | None = None
        self._roots = directory / "ca.pem"
        self._roots.write_bytes(self.api.certificate.certificate)
        self._account = account().write(directory / "account.json")

    async def listen(self) -> None:
        """Begin to answer, on the same port as before."""
        self._server, self._port = await self.api.listen(self._port)

    async def deafen(self) -> None:
        """Stop answering; the executions go on."""
        if self._server:
            await self._server.stop(None)
            self._server = None

    async def close(self) -> None:
        """End everything that runs."""
        await self.deafen()
        await self.agent.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a worker must find in its own."""
        address = f"https://127.0.0.1:{self._port}/"
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": address,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": address,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self._roots),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self._account),
            "GCP_PROJECT_ID": PROJECT,
            "GCP_REGION": REGION,
            "RUNMESH_CLOUD_RUN_POLL_INTERVAL": "0.1",
            "RUNMESH_CLOUD_RUN_WRITE_RATE": "1000",
            "RUNMESH_CLOUD_RUN_LOG_RATE": "500",
            "RUNMESH_CLOUD_RUN_LOG_SETTLE": "0.1",
        }

    def place_worker(self) -> dict[str, str]:
        """Make a service that jobs take after; return what workers find in their environment."""
        service = run_v2.Service.pb()(name=SERVICE)
        container = service.template.containers.add(image="etl:1")
        container.ports.add(container_port=6789)
        self.api.services[SERVICE] = service
        return {"GCP_SERVICE_NAME": "mage"}

    def run(self, handle: Handle) -> Run:
        """Return a handle's job."""
        return self.api.runs[naming.job_of(handle)]

    def _printed(self, run: Run, stream: str, line: bytes) -> None:
        self.lines.add(run.id, stream, line)


def cloud_run(
    inherited: Mapping[str, str] | None = None, *, hollow: bool = False
) -> AbstractAsyncContextManager[Cloud]:
    """Run it in this process for the length of the block; no container outlives it."""
    return hosted(partial(Cloud, inherited=inherited or {}, hollow=hollow))


# --- as a process of its own ------------------------------------------------------------------------


async def _asked(found: Cloud, request: Request) -> Answer:
    match request["do"]:
        case "history":
            return {"history": [_told(run) for run in found.api.history]}
        case "jobs":
            return {"jobs": [[run.id, name] for name, run in found.api.runs.items()]}
        case "calls":
            return {"calls": [[name, count] for name, count in found.api.calls.items()]}
        case "end":
            return {"count": sum(_end(found) for _ in range(request["count"]))}
    raise ValueError(f"unknown: {request}")


def _told(run: Run) -> dict[str, Any]:
    """Return which submission a job was created for: its key tells attempts and resubmissions apart."""
    said = {name.removeprefix("runmesh.dev/"): value for name, value in run.job.annotations.items()}
    return {"name": said["key"], "attempt": 0, "resubmission": said["key"], **said}


def _end(found: Cloud) -> bool:
    """Let one hollow execution that runs succeed."""
    for run in found.api.runs.values():
        if run.execution is not None and run.execution.running_count and not run.code.done():
            run.code.set_result(0)
            return True
    return False


async def main(socket: Path, *, hollow: bool) -> None:
    """Serve until told to end."""
    async with cloud_run(inherited(), hollow=hollow) as found:
        if hollow:
            found.api.quota = 100_000
        calm = {  # many workers, and no CPU to spare
            "RUNMESH_CLOUD_RUN_POLL_INTERVAL": "0.3",
            "RUNMESH_CLOUD_RUN_LOG_RATE": "10",
            "RUNMESH_CLOUD_RUN_LOG_SETTLE": "0.3",
        }
        await serve(socket, partial(_asked, found), {**found.environment, **found.place_worker(), **calm})


if __name__ == "__main__":
    start(main)

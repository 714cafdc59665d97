"""AWS with one ECS that runs commands as local processes: an endpoint for the real SDK.

    python -m tests.emulators.ecs SOCKET [--hollow]

As a process (serving.py) its workers find themselves in a task, which others inherit from. With ``--hollow`` no process
is started for any container: a task ends when it is told to.

What it is faithful to, and its limits: `tests/emulators/amazon/`. Images, roles and networks are not there; a command
runs on this machine, with this machine's files.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

from runmesh.executors.amazon.ecs.definition import log_place
from runmesh.executors.amazon.ecs.inherit import METADATA
from tests.emulators.amazon.api import Api
from tests.emulators.amazon.cloudwatch import CloudWatch
from tests.emulators.amazon.ecs import Ecs
from tests.emulators.amazon.tasks import Agent, EcsTask
from tests.emulators.containers import BARE
from tests.emulators.hosting import hosted, start
from tests.emulators.port import Port
from tests.emulators.serving import Answer, Request, inherited, serve

REGION: Final = "eu-west-1"
CONFIG: Final[dict[str, Any]] = {
    "task_definition": "etl",
    "cluster": "prod",
    "subnets": ["subnet-1"],
    "container_name": "main",
    "security_groups": ["sg-1"],
}
"""What a task must say of its place."""


class Aws:
    """An account in a region."""

    def __init__(self, directory: Path, inherited: Mapping[str, str], *, hollow: bool = False) -> None:
        self.logs = CloudWatch()
        self.agent = Agent(directory, {**BARE, **inherited}, self._printed, hollow=hollow)
        self.ecs = Ecs(self.agent, REGION)
        self.api = Api(self.ecs, self.logs)
        self.port = Port(self.api.application)

    async def listen(self) -> None:
        """Begin to answer."""
        await self.port.listen()

    async def close(self) -> None:
        """End everything that runs."""
        await self.port.deafen()
        await self.agent.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a worker must find in its own."""
        return {
            "AWS_ENDPOINT_URL": self.port.url,
            "AWS_ACCESS_KEY_ID": "OWN",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNMESH_ECS_POLL_INTERVAL": "0.1",
            "RUNMESH_ECS_LAUNCH_RATE": "1000",
            "RUNMESH_ECS_LOG_RATE": "500",
        }

    def place_worker(self) -> dict[str, str]:
        """Make a task that workers find themselves in; return what they find in their environment."""
        asked = {"overrides": {"containerOverrides": [{"name": "main"}]}}
        own = EcsTask(REGION, CONFIG["cluster"], asked, self.ecs.definition("etl"))
        details = [{"name": "networkInterfaceId", "value": "eni-1"}]
        own.told |= {"attachments": [{"type": "ElasticNetworkInterface", "details": details}], "lastStatus": "RUNNING"}
        self.ecs.others[own.arn] = own
        told = {"Cluster": own.told["clusterArn"], "TaskARN": own.arn, "Family": "etl", "Revision": "1"}
        self.api.metadata |= {"": {"Name": "main"}, "/task": told}
        return {METADATA: f"{self.port.url}/metadata"}

    def task(self, arn: str) -> EcsTask:
        """Return a task."""
        return self.ecs.tasks[arn]

    def forget(self, arn: str) -> None:
        """Forget an ended task and its token, as ECS does after a day."""
        self.ecs.forget(arn)

    def _printed(self, task: EcsTask, line: bytes) -> None:
        container = task.own["name"]
        if place := log_place(task.definition, container):
            self.logs.add(place.group, place.stream(container, task.id), line)


def aws(inherited: Mapping[str, str] | None = None, *, hollow: bool = False) -> AbstractAsyncContextManager[Aws]:
    """Run it in this process for the length of the block; no container outlives it."""
    return hosted(partial(Aws, inherited=inherited or {}, hollow=hollow))


# --- as a process of its own ------------------------------------------------------------------------


async def _asked(found: Aws, request: Request) -> Answer:
    match request["do"]:
        case "history":
            return {"history": [_told(task) for task in found.ecs.history]}
        case "jobs":
            return {"jobs": [[task.id, task.arn] for task in found.ecs.tasks.values() if not task.ended]}
        case "calls":
            return {"calls": [[name, count] for name, count in found.api.calls.items()]}
        case "end":
            return {"count": sum(_end(found) for _ in range(request["count"]))}
    raise ValueError(f"unknown: {request}")


def _told(task: EcsTask) -> dict[str, Any]:
    """Return which submission a task was started for: its key tells attempts and resubmissions apart."""
    said = {tag["key"].removeprefix("runmesh:"): tag["value"] for tag in task.told["tags"]}
    return {"name": said["key"], "attempt": 0, "resubmission": said["key"], **said}


def _end(found: Aws) -> bool:
    """Let one hollow task that runs succeed."""
    for task in found.ecs.tasks.values():
        if task.told["lastStatus"] == "RUNNING" and not task.code.done():
            task.code.set_result(0)
            return True
    return False


async def main(socket: Path, *, hollow: bool) -> None:
    """Serve until told to stop."""
    async with aws(inherited(), hollow=hollow) as found:
        calm = {"RUNMESH_ECS_POLL_INTERVAL": "0.3", "RUNMESH_ECS_LOG_RATE": "20"}  # many workers, and no CPU to spare
        await serve(socket, partial(_asked, found), {**found.environment, **found.place_worker(), **calm})


if __name__ == "__main__":
    start(main)

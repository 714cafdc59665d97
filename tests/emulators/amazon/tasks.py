"""Tasks: placed or not, then run as a local process, and stopped.

What AWS may do to a task beside that is asked for by tests: `interrupt`, `run_out_of_memory`.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.emulators.containers import Container, Lives

ACCOUNT: Final = "123456789012"
_STEP: Final = 0.02
"""Seconds that a state lasts which is on the way."""
_KILLED: Final = 137
_INHERITED: Final = "Essential container in task exited"

Json = dict[str, Any]


class EcsTask:
    """One task, as it is told of, and its process."""

    def __init__(self, region: str, cluster: str, asked: Mapping[str, Any], definition: Json) -> None:
        self.id = uuid4().hex
        self.definition = definition
        self.asked = dict(asked)
        self.container: Container | None = None
        self.stopping = asyncio.Event()
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """With which a hollow task ends."""
        arn = f"arn:aws:ecs:{region}:{ACCOUNT}"
        overrides = dict(asked.get("overrides") or {})
        self.told: Json = {
            "taskArn": f"{arn}:task/{cluster}/{self.id}",
            "clusterArn": f"{arn}:cluster/{cluster}",
            "taskDefinitionArn": definition["taskDefinitionArn"],
            "lastStatus": "PROVISIONING",
            "desiredStatus": "RUNNING",
            "launchType": asked.get("launchType", "FARGATE"),
            "startedBy": asked.get("startedBy"),
            "group": asked.get("group") or f"family:{definition['family']}",
            "createdAt": time.time(),
            "cpu": overrides.get("cpu"),
            "memory": overrides.get("memory"),
            "overrides": overrides,
            "tags": list(asked.get("tags") or ()),
            "attachments": [],
            "containers": [
                {"name": each["name"], "lastStatus": "PENDING"} for each in definition["containerDefinitions"]
            ],
        }

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.told["taskArn"])

    @property
    def own(self) -> Json:
        """The override of the container that runs the command."""
        return dict((self.told["overrides"].get("containerOverrides") or [{}])[0])

    def part(self) -> Json:
        """Return what is told of that container."""
        return next(each for each in self.told["containers"] if each["name"] == self.own["name"])

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return bool(self.told["lastStatus"] == "STOPPED")

    def state(self, status: str, **more: Any) -> None:
        """Go on to a state."""
        self.told |= {"lastStatus": status, **more}

    def stop(self, code: str, reason: str) -> None:
        """Say why it stops, unless that was said."""
        self.told |= {"desiredStatus": "STOPPED"}
        self.told.setdefault("stopCode", code)
        self.told.setdefault("stoppedReason", reason)
        self.told.setdefault("stoppingAt", time.time())


class Agent:
    """Runs tasks on this machine."""

    def __init__(
        self, directory: Path, inherited: Mapping[str, str], printed: Callable[[EcsTask, bytes], None], *, hollow: bool
    ) -> None:
        self.room = asyncio.Event()
        """Until it is set, no task is placed."""
        self.room.set()
        self.grace = 1.0
        """Seconds between TERM and KILL."""
        self.unwinding = 20.0
        """Seconds that seem to be between a container's end and its task's: Fargate lets go of its network."""
        self._directory, self._inherited, self._printed, self._hollow = directory, inherited, printed, hollow
        self._lives = Lives("agent")

    def run(self, task: EcsTask) -> None:
        """Begin a task's life."""
        self._lives.begin(self._live(task))

    def stop(self, task: EcsTask, reason: str) -> None:
        """Stop a task as StopTask does."""
        if not task.stopping.is_set() and not task.ended:
            task.stop("UserInitiated", reason)
            task.stopping.set()
            self._lives.begin(self._terminate(task))

    def interrupt(self, task: EcsTask) -> None:
        """Take back a spot task's capacity."""
        task.stop("SpotInterruption", "Your Spot Task was interrupted.")
        task.stopping.set()
        self._lives.begin(self._terminate(task))

    def run_out_of_memory(self, task: EcsTask) -> None:
        """Kill a container as the kernel does when its limit is reached."""
        task.part()["reason"] = "OutOfMemoryError: Container killed due to memory usage"
        if task.container:
            task.container.kill()

    async def close(self) -> None:
        """Stop everything."""
        await self._lives.close()

    async def _live(self, task: EcsTask) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self.room, task.stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.sleep(_STEP)
        task.state("PENDING")
        await asyncio.sleep(_STEP)
        if not task.stopping.is_set():
            await self._run(task)
        task.state("DEPROVISIONING", desiredStatus="STOPPED")
        await asyncio.sleep(_STEP)
        task.state("STOPPED", stoppedAt=time.time())

    async def _run(self, task: EcsTask) -> None:
        own, part = task.own, task.part()
        try:
            if not self._hollow:
                task.container = await self._started(task, own)
        except OSError as error:
            part["reason"] = (
                f"CannotStartContainerError: runc create failed: exec: {own['command'][0]}: {error.strerror}"
            )
            task.stop("TaskFailedToStart", "Task failed to start")
            return
        part["lastStatus"] = "RUNNING"
        task.state("RUNNING", startedAt=time.time())
        if task.stopping.is_set() and task.container:
            task.container.signal(signal.SIGTERM)
        try:
            code = await (task.container.end() if task.container else task.code)
        finally:
            if task.container:
                task.container.kill()
        task.told["executionStoppedAt"] = time.time() - self.unwinding
        part |= {"lastStatus": "STOPPED", "exitCode": _KILLED if "reason" in part else code}
        task.stop("EssentialContainerExited", _INHERITED)

    async def _started(self, task: EcsTask, own: Json) -> Container:
        defined = next(each for each in task.definition["containerDefinitions"] if each["name"] == own["name"])
        pairs = {each["name"]: each["value"] for each in (*defined.get("environment", ()), *own.get("environment", ()))}
        variables = {**self._inherited, **pairs}
        return await self._lives.start(
            own["command"], variables, self._directory, lambda line: self._printed(task, line)
        )

    async def _terminate(self, task: EcsTask) -> None:
        if not task.code.done() and self._hollow:
            task.code.set_result(143)
        if task.container:
            task.container.signal(signal.SIGTERM)
            await asyncio.sleep(self.grace)
            task.container.kill()

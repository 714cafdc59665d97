"""Container groups: what was asked for, what is told of them, and their lives as local processes."""

import asyncio
import signal
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.emulators.containers import BARE, Container, Lives

_STEP: Final = 0.02
"""Seconds that a state lasts which is on the way."""
_KILLED: Final = 137
_SECRETS: Final = {
    "imageRegistryCredentials": ("password",),
    "volumes": ("storageAccountKey",),
    "containers": ("secureValue",),
    "diagnostics": ("workspaceKey",),
}

Json = dict[str, Any]


class Group:
    """One container group, and its container's process."""

    def __init__(self, identity: str, name: str, asked: Json) -> None:
        self.id, self.name = identity, name
        self.told: Json = {}
        self.history: list[Json] = []
        """What was asked for, each time that the container was started for it."""
        self.container: Container | None = None
        self.lines: list[tuple[str, str]] = []
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """With which a hollow container ends."""
        self.stopping = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        self.ask(asked)

    def ask(self, asked: Json) -> None:
        """Take what is asked for."""
        self.told = {
            **deepcopy(asked),
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.ContainerInstance/containerGroups",
        }
        self.state("Pending", "Pending", state="Waiting")
        self.history.append(asked)

    @property
    def own(self) -> Json:
        """The properties of the container that runs the command."""
        found: Json = self.told["properties"]["containers"][0]["properties"]
        return found

    @property
    def ended(self) -> bool:
        """Whether its container has ended."""
        return bool(self.own["instanceView"]["currentState"]["state"] == "Terminated")

    def state(self, provisioning: str, group: str, **current: Any) -> None:
        """Go on to a state."""
        properties = self.told["properties"]
        view = properties.setdefault("instanceView", {"events": []})
        properties["provisioningState"], view["state"] = provisioning, group
        own = self.own.setdefault("instanceView", {"restartCount": 0, "events": []})
        own["currentState"] = {**own.get("currentState", {}), **current}

    def event(self, name: str, message: str, *, of_group: bool = False) -> None:
        """Note an event of the container, or of the group."""
        where = self.told["properties"] if of_group else self.own
        kind = "Normal" if name in ("Pulling", "Pulled", "Created", "Started", "Killing") else "Warning"
        at = _now()
        told = {"name": name, "message": message, "type": kind, "count": 1, "firstTimestamp": at, "lastTimestamp": at}
        where["instanceView"]["events"].append(told)

    def shown(self, *, view: bool) -> Json:
        """Return what Azure tells; a listing has no views."""
        found = deepcopy(self.told)
        properties = found["properties"]
        for name, secrets in _SECRETS.items():
            if name in properties:
                properties[name] = _without(properties[name], secrets)
        for volume in properties.get("volumes", ()):
            if "secret" in volume:
                volume["secret"] = {}
        if not view:
            for thing in (properties, *(each["properties"] for each in properties["containers"])):
                thing.pop("instanceView", None)
        return found

    def printed(self, line: bytes) -> None:
        """Keep a line of output."""
        self.lines.append((_now(), line.rstrip(b"\n").decode(errors="replace")))


class Node:
    """Runs the groups on this machine."""

    def __init__(self, directory: Path, inherited: Mapping[str, str], *, hollow: bool) -> None:
        self.room = asyncio.Event()
        """Until it is set, no group is placed."""
        self.room.set()
        self.grace = 0.5
        """Seconds between TERM and KILL."""
        self.lives = Lives("node")
        self._directory, self._inherited, self._hollow = directory, inherited, hollow

    def run(self, group: Group) -> None:
        """Begin a group's life, or begin it anew."""
        if group.life:
            group.life.cancel()
            if group.container:
                group.container.kill()
        group.life = self.lives.begin(self._live(group))

    async def end(self, group: Group) -> None:
        """Stop a group's container."""
        group.stopping.set()
        if self._hollow and not group.code.done():
            group.code.set_result(143)
        if group.container and group.container.running:
            group.container.signal(signal.SIGTERM)
            for _ in range(20):
                await asyncio.sleep(self.grace / 20)
                if not group.container.running:
                    return
            group.container.kill()

    def evict(self, group: Group) -> None:
        """Take back a spot group's capacity."""
        group.event("SpotEviction", "The spot container group was evicted for capacity.", of_group=True)
        self._cut(group, "Stopped")

    def run_out_of_memory(self, group: Group) -> None:
        """Kill a container as the kernel does when its limit is reached."""
        self._cut(group, "Failed", detailStatus="OOMKilled")

    def _cut(self, group: Group, state: str, **current: Any) -> None:
        if group.life:
            group.life.cancel()
        if group.container:
            group.container.kill()
        now = {"state": "Terminated", "exitCode": _KILLED, "finishTime": _now(), "detailStatus": "Error", **current}
        group.state("Succeeded", state, **now)

    async def _live(self, group: Group) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self.room, group.stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.sleep(_STEP)
        group.state("Creating", "Pending", state="Waiting")
        group.event("Pulling", "Pulling image")
        await asyncio.sleep(_STEP)
        if not group.stopping.is_set():
            await self._run(group)

    async def _run(self, group: Group) -> None:
        try:
            if not self._hollow:
                group.container = await self._started(group)
        except OSError as error:
            told = f'exec: "{group.own["command"][0]}": executable file not found in $PATH ({error.strerror})'
            group.event("Failed", f"Error: failed to start containerd task: {told}")
            group.state("Failed", "Failed", state="Terminated", exitCode=128, detailStatus="Error", finishTime=_now())
            return
        group.event("Started", "Started container")
        group.state("Succeeded", "Running", state="Running", startTime=_now(), detailStatus="")
        code = await (group.container.end() if group.container else group.code)
        detail = "Completed" if code == 0 else "Error"
        ended = {"state": "Terminated", "exitCode": code, "finishTime": _now(), "detailStatus": detail}
        group.state("Succeeded", "Failed" if code else "Succeeded", **ended)

    async def _started(self, group: Group) -> Container:
        given = {
            each["name"]: each.get("value", each.get("secureValue", "")) for each in group.own["environmentVariables"]
        }
        variables = {**BARE, **self._inherited, **given}
        return await self.lives.start(group.own["command"], variables, self._directory, group.printed)


def _without(value: Any, secrets: tuple[str, ...]) -> Any:
    match value:
        case dict():
            return {name: _without(each, secrets) for name, each in value.items() if name not in secrets}
        case list():
            return [_without(each, secrets) for each in value]
    return value


def _now() -> str:
    now = time.time_ns()
    return f"{datetime.fromtimestamp(now // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{now % 10**9:09}Z"

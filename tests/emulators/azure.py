"""Azure with Container Instances that run commands as local processes: HTTPS for the real SDK, and its login.

    python -m tests.emulators.azure SOCKET [--hollow]

As a process it answers on SOCKET what only the omniscient may ask (`_asked`). With ``--hollow`` no process is started
for any container: one ends when it is told to. What it is faithful to, and its limits: `tests/emulators/arm/`.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from runmesh.executors.azure.naming import Place
from tests.emulators.arm.api import CLIENT, SECRET, SUBSCRIPTION, TENANT, Api
from tests.emulators.arm.groups import Group, Node
from tests.emulators.arm.own import IMAGE, LOCATION, own_group
from tests.emulators.certificates import certify
from tests.emulators.hosting import hosted, start
from tests.emulators.port import Port
from tests.emulators.serving import Answer, Request, inherited, serve

PLACE: Final = "prod"
CONFIG: Final[dict[str, Any]] = {"image": IMAGE, "location": LOCATION}
"""What a task must say."""
OWN: Final = "mage"
"""The group that workers stand in."""


class Azure:
    """Everything."""

    def __init__(self, directory: Path, given: Mapping[str, str], *, hollow: bool = False) -> None:
        self.node = Node(directory, given, hollow=hollow)
        self.api = Api(self.node)
        self._authority = directory / "authority.pem"
        self.port = Port(self.api.application, tls=certify(self._authority))

    async def listen(self) -> None:
        """Begin to answer."""
        await self.port.listen()

    async def close(self) -> None:
        """End everything that runs."""
        await self.port.deafen()
        await self.node.lives.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a worker must find in its own."""
        return {
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_AUTHORITY_HOST": self.port.url,
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_RESOURCE_GROUP_NAME": PLACE,
            "REQUESTS_CA_BUNDLE": str(self._authority),
            "RUNMESH_AZURE_ENDPOINT": self.port.url,
            "RUNMESH_AZURE_POLL_INTERVAL": "0.1",
            "RUNMESH_AZURE_READ_RATE": "1000",
            "RUNMESH_AZURE_LOG_RATE": "500",
            "RUNMESH_AZURE_CREATE_TIMEOUT": "10",
        }

    def place_worker(self) -> dict[str, str]:
        """Make a group that others take after; return what workers find in their environment."""
        base = Place(SUBSCRIPTION, PLACE).handle(OWN)
        self.api.groups[base] = Group(base, OWN, own_group())
        return {"AZURE_CONTAINER_GROUP_NAME": OWN, "AZURE_STORAGE_ACCOUNT_KEY": "key"}

    def group(self, handle: str) -> Group:
        """Return a group."""
        return self.api.groups[handle]


def azure(given: Mapping[str, str] | None = None, *, hollow: bool = False) -> AbstractAsyncContextManager[Azure]:
    """Run it in this process for the length of the block; no container outlives it."""
    return hosted(partial(Azure, given=given or {}, hollow=hollow))


# --- as a process of its own ------------------------------------------------------------------------


async def _asked(found: Azure, request: Request) -> Answer:
    match request["do"]:
        case "history":
            return {"history": [_told(group, asked) for group in found.api.history for asked in group.history]}
        case "jobs":
            return {"jobs": [[group.name, group.id] for group in found.api.groups.values() if group.name != OWN]}
        case "calls":
            return {"calls": list(found.api.calls.items())}
        case "end":
            return {"count": sum(map(_end, islice(_running(found), request["count"])))}
    raise ValueError(f"unknown: {request}")


def _told(group: Group, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return which submission a container was started for: its key tells attempts and resubmissions apart."""
    said = {name.removeprefix("runmesh-"): value for name, value in asked["tags"].items()}
    return {"name": group.name, "attempt": 0, "resubmission": said["key"], **said}


def _running(found: Azure) -> list[Group]:
    """Return the groups whose hollow container runs."""
    return [group for group in found.api.groups.values() if group.name != OWN and not group.code.done()]


def _end(group: Group) -> bool:
    """Let a hollow container succeed."""
    group.code.set_result(0)
    return True


async def main(socket: Path, *, hollow: bool) -> None:
    """Serve until told to stop."""
    async with azure(inherited(), hollow=hollow) as found:
        calm = {
            "RUNMESH_AZURE_POLL_INTERVAL": "0.3",
            "RUNMESH_AZURE_LOG_RATE": "20",
        }  # many workers, and no CPU to spare
        await serve(socket, partial(_asked, found), {**found.environment, **found.place_worker(), **calm})


if __name__ == "__main__":
    start(main)

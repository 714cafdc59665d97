"""What tasks inherit where their configuration says nothing: from the task that the worker itself runs in, as in Mage.

Read once in a process (Mage asks at every launch, and is throttled): the container's metadata say cluster, definition
and container, ECS and EC2 the network, which is asked for only when a task needs it: EC2's description alone takes the
SDK a second of CPU. Where that fails for now, tasks that need it wait; a network that the worker may not look at is not
inherited, and the log says so.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.errors import Unavailable
from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.amazon.session import Amazon

log = structlog.get_logger(__name__)

METADATA: Final = "ECS_CONTAINER_METADATA_URI_V4"
_WITHIN: Final = 10.0

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Base:
    """The task that others take after. Outside ECS it is empty."""

    cluster: str | None = None
    task_definition: str | None = None
    container: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()


class Own:
    """The worker's own task, read when something must be inherited first, and once in a process."""

    def __init__(self, amazon: "Amazon", access: Access, uri: str | None) -> None:
        self._amazon, self._access, self._uri = amazon, access, uri
        self._told: tuple[Json, Json] | None = None
        """The metadata of its container and of itself."""
        self._base = None if uri else Base()
        self._reading = asyncio.Lock()

    async def cluster(self) -> str | None:
        """Return the cluster it runs in, if it is one of ECS. Raises `Unavailable` while that can't be read."""
        async with self._reading, _bounded():
            return base_of(*await self._metadata(self._uri), []).cluster if self._uri else None

    async def base(self) -> Base:
        """Return what there is to inherit. Raises `Unavailable` while it can't be read."""
        async with self._reading, _bounded():
            if self._base is None:
                container, task = await self._metadata(self._uri or "")
                self._base = base_of(container, task, await self._interfaces(task))
        return self._base

    async def _metadata(self, uri: str) -> tuple[Json, Json]:
        if self._told is None:
            self._told = await _metadata(uri), await _metadata(f"{uri}/task")
        return self._told

    async def _interfaces(self, task: Json) -> list[Json]:
        """Return the network interfaces of a task; none where it has no network of its own, or we may not look."""
        access = Access.of_arn(task["TaskARN"], self._access.query)
        asked = {"cluster": task["Cluster"], "tasks": [task["TaskARN"]]}
        try:
            [found] = (await self._amazon.read("ecs", access, "describe_tasks", **asked))["tasks"]
            if not (ids := _interface_ids(found)):
                return []
            answer = await self._amazon.read("ec2", access, "describe_network_interfaces", NetworkInterfaceIds=ids)
        except Refused as refused:
            if refused.passing or refused.unauthenticated:
                raise Unavailable(f"the worker's own network can't be read: {refused}") from refused
            log.warning("no network inherited: the worker's own can't be read", action="inherit", error=str(refused))
            return []
        interfaces: list[Json] = answer["NetworkInterfaces"]
        return interfaces


def _interface_ids(task: Json) -> list[str]:
    details = [detail for each in task.get("attachments") or () for detail in each.get("details") or ()]
    return [detail["value"] for detail in details if detail["name"] == "networkInterfaceId"]


def base_of(container: Json, task: Json, interfaces: list[Json]) -> Base:
    """Return what is inherited from a container's and its task's metadata, and the task's network interfaces (pure)."""
    groups = [group["GroupId"] for each in interfaces for group in each.get("Groups") or ()]
    return Base(
        cluster=task["Cluster"].rsplit("/", 1)[-1],
        task_definition=f"{task['Family']}:{task['Revision']}",
        container=container.get("Name"),
        subnets=tuple(dict.fromkeys(each["SubnetId"] for each in interfaces)),
        security_groups=tuple(dict.fromkeys(groups)),
    )


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WITHIN):
            yield
    except (OSError, KeyError, ValueError) as error:
        raise Unavailable(f"the worker's own task can't be read, which others inherit from: {error!r}") from error


async def _metadata(uri: str) -> Json:
    import aiohttp  # noqa: PLC0415 - comes with the SDK

    try:
        async with aiohttp.ClientSession() as session, session.get(uri) as answer:
            found: Json = await answer.json(content_type=None)
            return found
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{uri}: {error!r}") from error

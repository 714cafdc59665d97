"""What tasks inherit where their configuration says nothing: from the task that the worker itself runs in, as in Mage.

Read once when the worker starts (Mage asks at every launch, and is throttled): the container's metadata say cluster,
definition and container, ECS and EC2 the network. What can't be read is not inherited, and the log says why.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

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


async def inherited(amazon: "Amazon", access: Access, uri: str | None) -> Base:
    """Return the worker's own task."""
    if not uri:
        return Base()
    try:
        async with asyncio.timeout(_WITHIN):
            container, task = await _metadata(uri), await _metadata(f"{uri}/task")
            there = Access.of_arn(task["TaskARN"], access.query)
            interfaces = await _interfaces(amazon, there, task)
            return base_of(container, task, interfaces)
    except (Refused, OSError, TimeoutError, KeyError, ValueError) as error:
        log.warning("nothing inherited: the worker's own task can't be read", error=repr(error))
        return Base()


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


async def _metadata(uri: str) -> Json:
    import aiohttp  # noqa: PLC0415 - comes with the SDK

    try:
        async with aiohttp.ClientSession() as session, session.get(uri) as answer:
            found: Json = await answer.json(content_type=None)
            return found
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{uri}: {error!r}") from error


async def _interfaces(amazon: "Amazon", access: Access, task: Json) -> list[Json]:
    """Return the network interfaces of a task; none where it is in no network of its own."""
    asked = {"cluster": task["Cluster"], "tasks": [task["TaskARN"]]}
    [found] = (await amazon.read("ecs", access, "describe_tasks", **asked))["tasks"]
    details = [detail for each in found.get("attachments") or () for detail in each.get("details") or ()]
    ids = [detail["value"] for detail in details if detail["name"] == "networkInterfaceId"]
    if not ids:
        return []
    answer = await amazon.read("ec2", access, "describe_network_interfaces", NetworkInterfaceIds=ids)
    interfaces: list[Json] = answer["NetworkInterfaces"]
    return interfaces

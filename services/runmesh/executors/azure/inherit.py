"""What groups inherit where their configuration says nothing: the group that Mage's variables name, as in Mage.

All of it, not only its first volume: place, network, identity, registries, volumes, name servers, diagnostics, init
containers, and of its first container image, variables and mounts. What Azure tells nobody can't be taken over: secure
variables, secret volumes, passwords of registries, the key of a workspace; the key of a storage account is the worker's
own. The mesh's own settings (RUNMESH_*) are left out.

Read once in a process. While that fails, tasks that need it wait.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.errors import Rejected, Unavailable
from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.azure.arm import Arm

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]

_OF_GROUP: Final = (
    *("osType", "subnetIds", "dnsConfig", "sku", "encryptionProperties", "confidentialComputeProperties"),
)
_PRIVATE: Final = "RUNMESH_"


@dataclass(frozen=True, slots=True)
class Base:
    """The group that others take after. Nothing, if none is named."""

    image: str | None = None
    variables: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    registries: tuple[Json, ...] = ()
    inits: tuple[Json, ...] = ()
    location: str | None = None
    identity: Json | None = None
    zones: tuple[str, ...] = ()
    tags: Json = field(default_factory=dict)
    properties: Json = field(default_factory=dict)
    """Other fields of the group's properties."""

    @classmethod
    def of_group(cls, group: Json) -> "Base":
        """Take what is inherited from a group, as Azure tells of it (pure)."""
        properties = group["properties"]
        own = properties["containers"][0]["properties"]
        volumes = [each for each in properties.get("volumes") or () if each.get("secret") is None]
        names = {each["name"] for each in volumes}
        return cls(
            image=own.get("image"),
            variables=tuple(_told(own.get("environmentVariables"))),
            mounts=_mounts(own, names),
            volumes=tuple(_set(each) for each in volumes),
            registries=tuple(each for each in properties.get("imageRegistryCredentials") or () if each.get("identity")),
            inits=tuple(_init(each, names) for each in properties.get("initContainers") or ()),
            location=group.get("location"),
            identity=_identity(group.get("identity")),
            zones=tuple(group.get("zones") or ()),
            tags=group.get("tags") or {},
            properties={name: properties[name] for name in _OF_GROUP if properties.get(name)},
        )


class Bases:
    """The groups that others take after, each read when something must be inherited first."""

    def __init__(self, arm: "Arm") -> None:
        self._arm = arm
        self._read: dict[tuple[Place, str], Base] = {}
        self._reading = asyncio.Lock()

    async def get(self, place: Place, name: str | None) -> Base:
        """Return what there is to inherit. Raises `Rejected`, and `Unavailable` while it can't be read."""
        if not name:
            return Base()
        async with self._reading:
            if (place, name) not in self._read:
                self._read[place, name] = await self._ask(place, name)
        return self._read[place, name]

    async def _ask(self, place: Place, name: str) -> Base:
        try:
            group = await self._arm.read(place.handle(name))
        except Refused as refused:
            if refused.passing:
                raise Unavailable(
                    f"group {name!r}, which others take after, can't be read: {refused}", refused.retry_after
                ) from refused
            raise Rejected(f"group {name!r}, which others take after, can't be read: {refused}") from refused
        except ConnectionError as error:
            raise Unavailable(f"group {name!r}, which others take after, can't be read: {error}") from error
        base = Base.of_group(group)
        if lost := _lost(group):
            log.warning(
                "not inherited, since Azure tells nobody: set it in the configuration",
                action="inherit",
                group=name,
                what=lost,
            )
        return base


def _set(fields: Json) -> Json:
    """Return what has a value: what Azure tells as null is not there."""
    return {name: value for name, value in fields.items() if value is not None}


def _told(variables: Iterable[Json] | None) -> Iterable[Json]:
    """Return the variables whose value Azure tells, but the mesh's own."""
    for each in variables or ():
        if each.get("value") is not None and not each["name"].startswith(_PRIVATE):
            yield {"name": each["name"], "value": each["value"]}


def _mounts(container: Json, volumes: Iterable[str]) -> tuple[Json, ...]:
    return tuple(each for each in container.get("volumeMounts") or () if each["name"] in volumes)


def _init(container: Json, volumes: Iterable[str]) -> Json:
    properties = {name: value for name, value in container["properties"].items() if name != "instanceView"}
    found = {"environmentVariables": list(_told(properties.get("environmentVariables")))}
    return {
        "name": container["name"],
        "properties": {**properties, **found, "volumeMounts": list(_mounts(properties, volumes))},
    }


def _identity(identity: Json | None) -> Json | None:
    """Return an identity as it is asked for: without the ids that Azure gave it."""
    if not identity:
        return None
    assigned = identity.get("userAssignedIdentities")
    return {
        "type": identity["type"],
        **({"userAssignedIdentities": {name: {} for name in assigned}} if assigned else {}),
    }


def _lost(group: Json) -> list[str]:
    """Name what a group has and Azure doesn't tell."""
    properties = group["properties"]
    own = properties["containers"][0]["properties"]
    variables = [each["name"] for each in own.get("environmentVariables") or () if each.get("value") is None]
    volumes = [each["name"] for each in properties.get("volumes") or () if each.get("secret") is not None]
    servers = [each["server"] for each in properties.get("imageRegistryCredentials") or () if not each.get("identity")]
    workspace = ["log_analytics"] if (properties.get("diagnostics") or {}).get("logAnalytics") else []
    return [*variables, *volumes, *servers, *workspace]

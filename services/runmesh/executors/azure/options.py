"""What an operator may set for the workers, in their environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from runmesh.errors import Invalid, Problem
from runmesh.executors.azure.naming import Place
from runmesh.platforms.environment import names, number

SUBSCRIPTION: Final = "AZURE_SUBSCRIPTION_ID"
RESOURCE_GROUP: Final = "AZURE_RESOURCE_GROUP_NAME"
CONTAINER_GROUP: Final = "AZURE_CONTAINER_GROUP_NAME"
STORAGE_KEY: Final = "AZURE_STORAGE_ACCOUNT_KEY"
"""The four are Mage's own variables."""
RESOURCE_GROUPS: Final = "RUNMESH_AZURE_RESOURCE_GROUPS"
ENDPOINT: Final = "RUNMESH_AZURE_ENDPOINT"
CA: Final = "REQUESTS_CA_BUNDLE"
"""As Azure's own tools name it."""
POLL: Final = "RUNMESH_AZURE_POLL_INTERVAL"
READS: Final = "RUNMESH_AZURE_READ_RATE"
LOG_READS: Final = "RUNMESH_AZURE_LOG_RATE"
CREATE: Final = "RUNMESH_AZURE_CREATE_TIMEOUT"
_PUBLIC: Final = "https://management.azure.com"


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one worker."""

    subscription: str | None
    resource_group: str | None
    """Where groups are whose configuration doesn't say."""
    container_group: str | None
    """The group that others take after, if their configuration names none."""
    storage_key: str | None
    """The key of the storage account of inherited volumes, which Azure never tells."""
    places: tuple[Place, ...]
    """Where groups of ours may be that nobody knows of: they are cleared up from the start."""
    endpoint: str
    """Azure Resource Manager: another cloud's, or a private one's."""
    ca: str | None
    """A file of certificates to trust, beside a proxy or in a private cloud."""
    poll: float
    """Seconds between two looks at a resource group."""
    reads: float
    """Looks at single groups a second: Azure refills 25 reads a second for each client of a subscription."""
    log_reads: float
    """Reads of logs a second: out of the same 25."""
    create: float
    """Seconds that one creation may take."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. Raises `Invalid`."""
        own = environment.get(SUBSCRIPTION) or None, environment.get(RESOURCE_GROUP) or None
        return cls(
            subscription=own[0],
            resource_group=own[1],
            container_group=environment.get(CONTAINER_GROUP) or None,
            storage_key=environment.get(STORAGE_KEY) or None,
            places=tuple(_places(names(environment, RESOURCE_GROUPS), own)),
            endpoint=(environment.get(ENDPOINT) or _PUBLIC).rstrip("/"),
            ca=environment.get(CA) or None,
            poll=number(environment, POLL, 2.0, least=0.05),
            reads=number(environment, READS, 15.0, least=0.1),
            log_reads=number(environment, LOG_READS, 5.0, least=0.1),
            create=number(environment, CREATE, 20.0, least=1),
        )


def _places(listed: tuple[str, ...], own: tuple[str | None, str | None]) -> list[Place]:
    """Read ``subscription/resource-group`` or ``resource-group``, with commas; the worker's own come first."""
    subscription, resource_group = own
    found = [Place(subscription, resource_group)] if subscription and resource_group else []
    for each in listed:
        where, _, name = each.rpartition("/")
        if not (where or subscription):
            raise Invalid(
                Problem(
                    RESOURCE_GROUPS,
                    f"{each!r} is in no subscription",
                    f"set {SUBSCRIPTION}, or write subscription/{each}",
                )
            )
        found.append(Place(where or str(subscription), name))
    return list(dict.fromkeys(found))

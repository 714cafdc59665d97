"""What an operator may set for the workers of a cluster, in their environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from runmesh.platforms.environment import names, number

NAMESPACE: Final = "KUBE_NAMESPACE"
"""Mage's own variable."""
NAMESPACES: Final = "RUNMESH_K8S_NAMESPACES"
RATE: Final = "RUNMESH_K8S_QPS"
FOLLOWERS: Final = "RUNMESH_K8S_LOG_FOLLOWERS"
POD: Final = "HOSTNAME"
CONTAINER: Final = "MAGE_CONTAINER_NAME"


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one worker."""

    namespace: str | None
    """Where Jobs go whose configuration doesn't say; None: where the worker is."""
    namespaces: tuple[str, ...]
    """Where Jobs of ours may be beside that: they are watched from the start, and cleared up."""
    rate: float
    """Calls a second, of all kinds but watches and logs."""
    followers: int
    """Logs that are followed at once."""
    pod: str | None
    """The pod that the worker runs in, whose image, environment and volumes the Jobs inherit; None: there is none."""
    container: str | None
    """The container of that pod; None: the first."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. Raises `Invalid`."""
        inherits = environment.get("KUBERNETES_SERVICE_HOST") or environment.get(CONTAINER)
        return cls(
            namespace=environment.get(NAMESPACE) or None,
            namespaces=names(environment, NAMESPACES),
            rate=number(environment, RATE, 50.0, least=1),
            followers=int(number(environment, FOLLOWERS, 200, least=1)),
            pod=(environment.get(POD) or None) if inherits else None,
            container=environment.get(CONTAINER) or None,
        )

"""The one place that makes streams, consumers and buckets."""

from collections.abc import Collection, Mapping

from runmesh.bus.connection import Bus


async def provision(
    bus: Bus,
    *,
    pools: Mapping[str, Collection[str]] | None = None,
    replicas: int | None = None,
    ack_wait: float = 60.0,
) -> list[str]:
    """Make or update every stream, consumer and bucket; return what was made or changed, one line each.

    `pools` names pools besides `default`, by executor type. `replicas` is 3 where the cluster has three nodes, unless given.
    """
    raise NotImplementedError

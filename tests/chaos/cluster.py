"""Three nats-servers that are one cluster, on this machine: each dies and comes back for itself."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from runmesh.bus import Bus, connect
from runmesh.embedded import Server
from runmesh.errors import Unreachable
from tests.eventually import eventually
from tests.ports import free_ports

NODES = 3


class Node(Server):
    """One server of the cluster: the embedded one, with routes to the others."""

    def __init__(self, store: Path, token: str, name: str, ports: Sequence[int]) -> None:
        super().__init__(store, ports[0])
        self.token, self.name, self._routes = token, name, ports[1:]

    def _config(self) -> str:
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in self._routes)
        return f"""
            {super()._config()}
            server_name: {json.dumps(self.name)}
            cluster {{ name: chaos, listen: "127.0.0.1:{self._routes[0]}", routes: [{routes}] }}
        """


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[list[Node]]:
    """Run a cluster for the length of the block, which begins when it has a leader: before, JetStream is silent."""
    ports = free_ports(2 * NODES)
    clients, routes = ports[:NODES], ports[NODES:]
    nodes: list[Node] = []
    async with AsyncExitStack() as stack:
        for number in range(NODES):
            store = directory / f"node-{number}"
            store.mkdir()
            own_first = [routes[number], *routes[:number], *routes[number + 1 :]]
            nodes.append(Node(store, "chaos", f"node-{number}", [clients[number], *own_first]))
        for node in nodes:
            stack.push_async_callback(node.stop)
            await node.start()
        async with connect([node.url for node in nodes], name="cluster", token=nodes[0].token) as bus:
            await eventually(partial(_has_leader, bus))
        yield nodes


async def leader_of(bus: Bus, stream: str) -> str | None:
    """Name the node that leads a stream now, if one does."""
    with suppress(Unreachable):
        leader: str | None = (await bus.api(f"STREAM.INFO.{stream}")).get("cluster", {}).get("leader")
        return leader
    return None


async def _has_leader(bus: Bus) -> bool:
    with suppress(Unreachable):
        return bool(await bus.api("STREAM.NAMES"))
    return False

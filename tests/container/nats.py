"""NATS in a container, for `make test-container`: the session's server, instead of the packaged one.

Tests run there that meet the session's server, by the fixtures `bus` and `nats_address`. The others would only be the
same again, and are left out: what kills its server and starts it again (`nats_server`), configures its users
(`nats_users.py`), is a whole mesh with its own (`local_mesh.py`, `runmesh up`, `runmesh demo`), or needs none.
`make test` has all of them, against the packaged server.

`with-engine` finds the engine and the image, and removes what a killed session left.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy


@asynccontextmanager
async def contained(token: str) -> AsyncIterator[str]:
    """Run a nats-server with JetStream for the length of the block, and yield its URL."""
    container = (
        DockerContainer(os.environ["RUNMESH_TEST_NATS_IMAGE"])
        .with_command(["--jetstream", "--store_dir", "/data", "--auth", token])
        .with_exposed_ports(4222)
        .with_tmpfs_mount("/data")
        .with_kwargs(labels={"dev.runmesh.session": os.environ["RUNMESH_TEST_SESSION"]})
        .waiting_for(LogMessageWaitStrategy("Server is ready"))
    )
    await asyncio.to_thread(container.start)
    try:
        yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(4222)}"
    finally:
        await asyncio.to_thread(container.stop)

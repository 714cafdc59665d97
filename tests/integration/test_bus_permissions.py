"""A missing permission is a configuration error: it is fatal, and it names the subject."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.errors import NotPermitted

USERS = """
authorization { users: [
  { user: admin, password: admin }
  { user: worker, password: worker, permissions: {
      publish: ["mesh.task.>", "$JS.ACK.>", "$JS.API.CONSUMER.MSG.NEXT.EXECUTE_k8s.*"]
      subscribe: "_INBOX_worker.>" } }
] }
"""


class GuardedServer(Server):
    def _config(self) -> str:
        lines = super()._config().splitlines()
        return "\n".join(line for line in lines if "token" not in line) + USERS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = GuardedServer(tmp_path)
    await server.start()
    async with connect(server.url, name="admin", user="admin", password="admin") as admin:  # noqa: S106
        await provision(admin)
    yield server
    await server.stop()


@pytest.fixture
async def worker(server: Server) -> AsyncIterator[Bus]:
    inbox = "_INBOX_worker"
    async with connect(server.url, name="k8s", user="worker", password="worker", inbox_prefix=inbox) as bus:  # noqa: S106
        yield bus


async def test_what_is_permitted_works(worker: Bus) -> None:
    await worker.publish("mesh.task.running.k8s.default.shop.r1.load", b"")
    assert not worker.fatal.done()


async def test_a_forbidden_publish_is_told_to_its_caller_at_once_and_is_fatal(worker: Bus) -> None:
    with pytest.raises(NotPermitted, match=r"k8s no publish to mesh\.request\.run\.shop"):
        await worker.publish("mesh.request.run.shop", b"")
    with pytest.raises(NotPermitted, match=r"k8s no publish to mesh\.request\.run\.shop"):
        await worker.fatal


async def test_a_forbidden_queue_ends_its_pump(worker: Bus) -> None:
    async with worker.consume("EXECUTE_ecs", "pool_default", slots=1) as pump:
        with pytest.raises(NotPermitted, match="EXECUTE_ecs"):
            async with asyncio.timeout(60):
                await anext(pump)


async def test_an_inbox_that_is_not_ones_own_is_fatal(server: Server) -> None:
    async with connect(server.url, name="k8s", user="worker", password="worker") as bus:  # noqa: S106
        with pytest.raises(NotPermitted, match="subscription"):
            await bus.fatal


async def test_whoever_stops_waiting_for_the_fatal_leaves_it_to_the_others(worker: Bus) -> None:
    async def wait() -> None:
        await worker.fatal

    impatient = asyncio.create_task(wait())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    with pytest.raises(NotPermitted):
        await worker.publish("mesh.request.run.shop", b"")
    with pytest.raises(NotPermitted):
        await worker.fatal

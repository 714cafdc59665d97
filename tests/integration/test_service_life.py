"""What a service says of itself from its start to its end: why it isn't ready, and what it waits for."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic_core import from_json

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.errors import Invalid, NotPermitted, Unreachable
from runmesh.service import Needs, serve
from runmesh.settings import Settings
from tests.conftest import Address
from tests.eventually import eventually
from tests.integration.test_cli_service import NEEDS, Waiting, get
from tests.ports import free_ports


@dataclass
class Lacking(Waiting):
    """A service that needs something beside NATS."""

    lacks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def troubles(self) -> list[str]:
        return self.lacks


@dataclass
class Serving:
    """A service in this process, and what it says over HTTP."""

    port: int
    service: Lacking
    task: asyncio.Task[None]

    async def says(self, *lines: str) -> None:
        """Wait until it gives these reasons for not being ready; none: until it is."""

        async def said() -> bool:
            assert (await get(self.port, "/livez"))[0] == 200
            status, text = await get(self.port, "/readyz")
            assert text.splitlines() == (list(lines) or ["ready"])
            return status == (503 if lines else 200)

        await eventually(said)


@asynccontextmanager
async def served(server: Server | Address, needs: Needs = NEEDS, **changes: Any) -> AsyncIterator[Serving]:
    (port,) = free_ports(1)
    known = {"nats_url": server.url, "nats_token": server.token, "log_level": "warning", "log_format": "json"}
    here = Settings(health_port=port, **{**known, **changes})
    service = Lacking()
    task = asyncio.create_task(serve("test", here, needs, lambda _: service))
    try:
        await eventually(lambda: listening(task, port))
        yield Serving(port, service, task)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def listening(task: asyncio.Task[None], port: int) -> bool:
    if task.done():
        task.result()
    try:
        return (await get(port, "/livez"))[0] == 200
    except OSError:
        return False


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Bus]:
    async with connect(server.url, name="test", token=server.token) as bus:
        yield bus


async def test_a_service_waits_for_the_server_and_for_its_consumers_and_says_so(
    nats_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = "consumer 'resolver' of stream REQUESTS is missing: run `runmesh provision`"
    address = nats_server.url
    await nats_server.kill()
    async with served(nats_server) as serving:
        await serving.says(f"connecting to NATS at {address}")
        await nats_server.start()
        await serving.says(missing)
        async with connected(nats_server) as bus:
            assert not await answers(bus)
            await provision(bus)
            await serving.says()
            await eventually(lambda: answers(bus))
            await nats_server.kill()
            await serving.says(f"no connection to NATS at {address}")
            await nats_server.start()
            await serving.says()
        assert not serving.task.done()
    lines = [from_json(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["reason"] for line in lines if line["event"] == "waiting"] == [missing]


async def answers(bus: Bus) -> bool:
    try:
        await bus.request("$SRV.PING.runmesh-test", b"", timeout=1)
    except Unreachable:
        return False
    return True


async def test_a_consumer_that_vanishes_is_waited_for(bus: Bus, nats_address: Address) -> None:
    async with served(nats_address) as serving:
        await serving.says()
        await bus.api(f"CONSUMER.DELETE.{subjects.REQUESTS}.{subjects.RESOLVER}")
        serving.service.error = await missing(bus)
        serving.service.empty.set()
        await serving.says("consumer 'resolver' of stream REQUESTS is missing: run `runmesh provision`")
        serving.service.empty.clear()
        await provision(bus, ack_wait=2)
        await serving.says()
        assert not serving.task.done()


async def test_a_lease_longer_than_the_mesh_knows_is_refused_until_it_knows_it(bus: Bus, nats_address: Address) -> None:
    await provision(bus, ack_wait=2)
    queue = subjects.execute_stream("k8s"), subjects.execute_consumer("default")
    async with served(nats_address, [queue], ack_wait=3) as serving:
        leases = "3 s here, and 2 s where the mesh was provisioned"
        await serving.says(f"RUNMESH_ACK_WAIT is {leases}: make them the same, or run `runmesh provision`")
        await provision(bus, ack_wait=3)
        await serving.says()


async def missing(bus: Bus) -> Exception:
    """Return what a pump raises in such a case, in a group as a service's tasks raise it."""
    try:
        await bus.consumer_info(subjects.REQUESTS, subjects.RESOLVER)
    except Exception as error:  # noqa: BLE001 - the very thing that is wanted
        return ExceptionGroup("tasks", [ExceptionGroup("more of them", [error])])
    raise AssertionError


async def test_a_service_tells_what_else_it_lacks(bus: Bus, nats_address: Address) -> None:
    assert bus.connected
    async with served(nats_address) as serving:
        await serving.says()
        serving.service.lacks = ["no platform", "no luck"]
        await serving.says("no platform", "no luck")


async def test_no_reason_tells_a_secret(bus: Bus, nats_address: Address) -> None:
    assert bus.connected
    async with served(nats_address, nats_token=nats_address.token) as serving:
        await serving.says()
        serving.service.lacks = [f"{nats_address.token} is refused", "Authorization: Bearer abc.def-ghi"]
        await serving.says("*** is refused", "Authorization: Bearer ***")


async def test_a_service_that_drains_is_not_ready(bus: Bus, nats_address: Address) -> None:
    assert bus.connected
    async with served(nats_address) as serving:
        await serving.says()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.service.draining.wait()
        await serving.says("draining")
        serving.service.empty.set()
        await serving.task


async def test_what_waits_ends_at_the_first_signal(nats_server: Server) -> None:
    await nats_server.kill()
    async with served(nats_server) as serving:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(60):
            await serving.task


async def test_credentials_that_are_refused_end_it_with_one_line(
    nats_address: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Settings(nats_url=nats_address.url, nats_token="wrong")  # noqa: S106
    with pytest.raises(NotPermitted, match=r"^NATS refuses the credentials of runmesh test: a token$"):
        await serve("test", here, NEEDS, lambda _: Waiting())
    assert capsys.readouterr().err == ""


async def test_a_permission_that_is_missing_meanwhile_ends_it(bus: Bus, nats_address: Address) -> None:
    assert bus.connected
    async with served(nats_address) as serving:
        await serving.says()
        serving.service.error = ExceptionGroup("tasks", [NotPermitted("NATS permits nothing"), Unreachable("too late")])
        serving.service.empty.set()
        with pytest.raises(ExceptionGroup, match="tasks"):
            await serving.task


async def test_a_port_that_is_taken_ends_it_before_anything_else() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Invalid, match=rf"RUNMESH_HEALTH_PORT: can't listen on {port}"):
            await serve("test", Settings(nats_url="nats://not.there", health_port=port), NEEDS, lambda _: Waiting())

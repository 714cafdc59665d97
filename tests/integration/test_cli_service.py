"""What every service does alike, with a service that only waits."""

import asyncio
import os
import signal
from collections.abc import Mapping

import pytest
from pydantic_core import from_json

from runmesh import subjects
from runmesh.bus import Bus, Message
from runmesh.bus.message import Handler
from runmesh.errors import Conflict, Invalid, Unreachable
from runmesh.health import health
from runmesh.service import serve
from runmesh.settings import Settings
from tests.conftest import Address
from tests.eventually import eventually

NEEDS = [(subjects.REQUESTS, subjects.RESOLVER)]


class Waiting:
    """Runs until it is drained and told that nothing is left to do."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.empty = asyncio.Event()
        self.error: Exception | None = None

    async def run(self) -> None:
        await self.empty.wait()
        if self.error:
            raise self.error

    def drain(self) -> None:
        self.draining.set()

    def endpoints(self) -> Mapping[str, tuple[str, Handler]]:
        return {"echo": ("mesh.api.echo.shop", self._echo)}

    async def _echo(self, message: Message) -> bytes:
        return message.data


@pytest.fixture
def settings(nats_address: Address) -> Settings:
    return Settings(nats_url=nats_address.url, nats_token=nats_address.token, log_level="error")


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_service_answers_requests_until_a_signal_drains_it(bus: Bus, settings: Settings) -> None:
    waiting = Waiting()
    serving = asyncio.create_task(serve("test", settings, NEEDS, lambda _: waiting))
    reply = await eventually(lambda: answered(bus))
    assert reply == b"hello"
    info = from_json((await bus.request("$SRV.INFO.runmesh-test", b"")).data)
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["mesh.api.echo.shop"]
    os.kill(os.getpid(), signal.SIGTERM)
    await waiting.draining.wait()
    assert not serving.done()
    waiting.empty.set()
    await serving


async def answered(bus: Bus) -> bytes:
    try:
        return (await bus.request("mesh.api.echo.shop", b"hello", timeout=1)).data
    except Unreachable as error:
        raise AssertionError(error) from error


async def test_a_second_signal_ends_it_at_once(bus: Bus, settings: Settings) -> None:
    waiting = Waiting()
    serving = asyncio.create_task(serve("test", settings, NEEDS, lambda _: waiting))
    await eventually(lambda: answered(bus))
    os.kill(os.getpid(), signal.SIGINT)
    await waiting.draining.wait()
    os.kill(os.getpid(), signal.SIGINT)
    await serving


async def test_what_ends_a_service_is_raised(bus: Bus, settings: Settings) -> None:
    waiting = Waiting()
    waiting.error = Conflict("somebody else")
    waiting.empty.set()
    with pytest.raises(Conflict, match="somebody else"):
        await serve("test", settings, NEEDS, lambda _: waiting)
    assert bus.payload_limit


async def test_health_is_told_over_http() -> None:
    reasons = ["draining", "no NATS server"]
    async with health(0, lambda: reasons) as port:
        assert port
        assert await get(port, "/livez") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "draining\nno NATS server\n")
        reasons.clear()
        assert await get(port, "/readyz?verbose") == (200, "ready\n")
        assert "python_info" in (await get(port, "/metrics"))[1]
        assert (await get(port, "/"))[0] == 404


async def test_a_port_that_is_taken_is_the_users_mistake() -> None:
    async with health(0, list) as port:
        assert port
        with pytest.raises(Invalid, match=rf"^RUNMESH_HEALTH_PORT: can't listen on {port}: .*in use.* \(0 takes"):
            async with health(port, list):
                pass


async def test_who_speaks_no_http_gets_no_answer_and_does_no_harm() -> None:
    async with health(0, list) as port:
        assert port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00" * 100_000 + b"\n\n")
        writer.write_eof()
        await reader.read()
        writer.close()
        assert await get(port, "/livez") == (200, "ok\n")


async def test_without_a_port_there_is_no_health() -> None:
    async with health(None, list) as port:
        assert port is None

"""Requests and services: answered, discovered, refused with a reason."""

import asyncio
import json

import nats
import pytest
from nats.aio.msg import Msg

from runmesh.bus import Bus, Message
from runmesh.errors import Invalid, Problem, Unreachable
from tests.conftest import Address
from tests.eventually import eventually

SERVICE = ("resolver", "0.1.0", "plans runs")


async def echo(message: Message) -> bytes:
    return message.subject.encode() + b" " + message.data


async def refuse(message: Message) -> bytes:
    raise Invalid(Problem("pipeline", f"no such pipeline: {message.data.decode()}"))


async def test_a_request_is_answered(bus: Bus) -> None:
    async with bus.serve(*SERVICE, {"explain": ("mesh.api.explain.*", echo)}):
        answer = await bus.request("mesh.api.explain.shop", b"hello")
        assert answer.data == b"mesh.api.explain.shop hello"


async def test_an_answer_may_hold_any_text(bus: Bus) -> None:
    said = b'{"err_code":10039}'  # as a JetStream that is not meant refuses
    async with bus.serve(*SERVICE, {"explain": ("mesh.api.explain.*", echo)}):
        assert (await bus.request("mesh.api.explain.shop", said)).data.endswith(said)


async def test_a_refusal_carries_its_text(bus: Bus) -> None:
    async with bus.serve(*SERVICE, {"run": ("mesh.api.run.*", refuse)}):
        answer = await bus.request("mesh.api.run.shop", b"lode")
        assert answer.headers["Nats-Service-Error"] == "pipeline: no such pipeline: lode"
        assert answer.headers["Nats-Service-Error-Code"] == "400"


async def test_nobody_there_is_known_at_once(bus: Bus) -> None:
    with pytest.raises(Unreachable, match="nobody answers"):
        await bus.request("mesh.api.run.shop", b"", timeout=60)


async def test_a_slow_request_delays_no_other(bus: Bus) -> None:
    patience = asyncio.Event()

    async def wait(message: Message) -> bytes:
        if message.data == b"slow":
            await patience.wait()
        return message.data

    async with bus.serve(*SERVICE, {"run": ("mesh.api.run.*", wait)}):
        slow = asyncio.ensure_future(bus.request("mesh.api.run.shop", b"slow"))
        assert (await bus.request("mesh.api.run.shop", b"quick")).data == b"quick"
        patience.set()
        assert (await slow).data == b"slow"


async def test_only_so_many_are_answered_at_once(bus: Bus) -> None:
    patience, present, most = asyncio.Event(), 0, 0

    async def wait(message: Message) -> bytes:
        nonlocal present, most
        present += 1
        most = max(most, present)
        await patience.wait()
        present -= 1
        return message.data

    async with bus.serve(*SERVICE, {"run": ("mesh.api.run.*", wait)}):
        asked = [asyncio.ensure_future(bus.request("mesh.api.run.shop", b"%d" % n)) for n in range(300)]
        await eventually(lambda: present >= 256)
        await bus.request("$SRV.PING.resolver", b"")
        patience.set()
        assert [(await answer).data for answer in asked] == [b"%d" % n for n in range(300)]
    assert most == 256


async def test_what_was_asked_before_a_service_ends_is_answered(bus: Bus) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def store(_: Message) -> bytes:
        begun.set()
        await ended.wait()
        return b"stored"

    async with bus.serve(*SERVICE, {"submit": ("mesh.api.submit.*", store)}):
        asked = asyncio.ensure_future(bus.request("mesh.api.submit.shop", b""))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, ended.set)
    assert (await asked).data == b"stored"


async def test_an_answer_to_many_problems_never_exceeds_what_the_server_takes(bus: Bus) -> None:
    async def refuse_all(_: Message) -> bytes:
        raise Invalid(*(Problem("ü" * 1000, "ß" * 1000, "ä" * 1000) for _ in range(10_000)))

    async with bus.serve(*SERVICE, {"run": ("mesh.api.run.*", refuse_all)}):
        answer = await bus.request("mesh.api.run.shop", b"")
        assert 0 < len(json.loads(answer.data)["errors"]) < 100
        stats = await bus.request("$SRV.STATS.resolver", b"")
        assert len(json.loads(stats.data)["endpoints"][0]["last_error"]) == 1000
        assert bus.connected


async def test_an_answer_that_does_not_come_ends_in_time(bus: Bus) -> None:
    async def never(_: Message) -> bytes:
        return await asyncio.Future()

    async with bus.serve(*SERVICE, {"run": ("mesh.api.run.*", never)}):
        with pytest.raises(Unreachable, match="no answer in time"):
            await bus.request("mesh.api.run.shop", b"", timeout=0.5)


async def test_the_service_is_found_by_any_nats_client(bus: Bus, nats_address: Address) -> None:
    client = await nats.connect(nats_address.url, token=nats_address.token)

    async def ask(subject: str) -> dict[str, object]:
        answer: Msg = await client.request(subject)
        found: dict[str, object] = json.loads(answer.data)
        return found

    async with bus.serve(*SERVICE, {"explain": ("mesh.api.explain.*", echo)}):
        await bus.request("mesh.api.explain.shop", b"")
        ping = await ask("$SRV.PING")
        assert (ping["type"], ping["name"]) == ("io.nats.micro.v1.ping_response", "resolver")
        info = await ask(f"$SRV.INFO.resolver.{ping['id']}")
        assert info["endpoints"] == [
            {"name": "explain", "subject": "mesh.api.explain.*", "queue_group": "q", "metadata": {}}
        ]
        stats = await ask("$SRV.STATS.resolver")
        assert isinstance(stats["endpoints"], list)
        assert stats["endpoints"][0]["num_requests"] == 1
    await client.close()

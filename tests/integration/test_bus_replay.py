"""Replay: what is stored, in order, each once, whatever happens to the server meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.errors import NotProvisioned
from runmesh.filters import facts_of_run
from tests.eventually import eventually
from tests.posting import all_of


def fact(run: str, state: str = "running") -> str:
    return f"mesh.run.{state}.shop.p.{run}"


@pytest.fixture
async def own_bus(nats_server: Server) -> AsyncIterator[Bus]:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus)
        yield bus


async def test_it_yields_one_runs_life_and_ends(bus: Bus) -> None:
    await bus.publish(fact("r1", "accepted"), b"1")
    await bus.publish(fact("r2", "accepted"), b"other")
    await bus.publish("mesh.task.running.k8s.default.shop.r1.load", b"2")
    await bus.publish(fact("r1", "completed"), b"3")
    assert [message.data async for message in bus.replay("FACTS", *facts_of_run("r1"))] == [b"1", b"2", b"3"]


async def test_an_empty_stream_ends_at_once(bus: Bus) -> None:
    assert [message async for message in bus.replay("FACTS")] == []
    await bus.publish(fact("r1"), b"")
    assert [message async for message in bus.replay("FACTS", "mesh.run.*.*.*.r2")] == []


async def test_it_begins_at_a_time(bus: Bus) -> None:
    await bus.publish(fact("r1"), b"before")
    middle = datetime.now(UTC)
    await bus.publish(fact("r1"), b"after")
    messages = [message async for message in bus.replay("FACTS", since=middle)]
    assert [message.data for message in messages] == [b"after"]
    assert messages[0].at > middle


async def test_thirty_thousand_come_in_order(bus: Bus) -> None:
    await all_of(bus.post(fact("r1"), b"") for _ in range(30_000))
    assert [message.sequence async for message in bus.replay("FACTS")] == list(range(1, 30_001))


async def test_a_slow_reader_gets_everything(bus: Bus) -> None:
    await asyncio.gather(*(bus.post(fact("r1"), b"") for _ in range(20)))
    seen = []
    async for message in bus.replay("FACTS"):
        seen.append(message.sequence)
        await asyncio.sleep(0.1)
    assert seen == list(range(1, 21))


async def test_it_goes_on_live_through_crashes_without_loss_or_doubling(nats_server: Server, own_bus: Bus) -> None:
    seen: list[int] = []

    async def follow() -> None:
        async for message in own_bus.replay("FACTS", live=True):
            seen.append(int(message.data))  # noqa: PERF401 - as they come

    async def write() -> None:
        for n in range(3000):
            await own_bus.publish(fact("r1"), str(n).encode(), message_id=str(n))

    following, writing = asyncio.create_task(follow()), asyncio.create_task(write())
    for share in (500, 1200, 2000):
        await eventually(lambda share=share: len(seen) > share, every=0.001)  # type: ignore[misc]
        await nats_server.kill()
        await nats_server.start()
    await writing
    await eventually(lambda: len(seen) == 3000)
    assert seen == list(range(3000))
    following.cancel()
    await asyncio.wait({following})


async def test_a_stream_that_is_not_there_is_not_provisioned(bus: Bus) -> None:
    with pytest.raises(NotProvisioned):
        await anext(bus.replay("NOWHERE", live=True))


async def test_a_deleted_message_is_not_replayed(bus: Bus) -> None:
    first = await bus.publish("mesh.dead.worker.undecodable", b"1")
    await bus.publish("mesh.dead.worker.undecodable", b"2")
    await bus.delete_message("DEAD", first.sequence)
    assert [message.data async for message in bus.replay("DEAD")] == [b"2"]


async def test_subjects_that_are_asked_for_singly_come_in_the_streams_order(bus: Bus) -> None:
    for n in range(300):
        await bus.publish(f"mesh.dead.{'abc'[n * n % 3]}.poison", str(n).encode())
    asked = [f"mesh.dead.{name}.*" for name in "abd"]
    together = [message.sequence async for message in bus.replay("DEAD", *asked)]
    singly = [message.sequence async for message in bus.replay("DEAD", *asked, singly=True)]
    assert singly == together == sorted(together)
    assert len(singly) == 300


async def test_subjects_that_are_asked_for_singly_are_followed_until_nobody_reads_on(bus: Bus) -> None:
    await bus.publish("mesh.dead.a.poison", b"1")
    seen = list[bytes]()

    async def follow() -> None:
        async for message in bus.replay("DEAD", "mesh.dead.a.*", "mesh.dead.b.*", live=True, singly=True):
            seen.append(message.data)

    following = asyncio.create_task(follow())
    await eventually(lambda: seen == [b"1"])
    for n in range(2, 6):
        await bus.publish(f"mesh.dead.{'ab'[n % 2]}.poison", str(n).encode())
        await eventually(lambda: seen[-1] == str(n).encode())  # noqa: B023 - called at once
    assert seen == [b"1", b"2", b"3", b"4", b"5"]
    following.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait({following})
    assert following.cancelled()

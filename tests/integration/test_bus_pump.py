"""The pump: continuous, within its slots, and back in seconds after a crash of the server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from runmesh.bus import Bus, Message, Pump, connect, provision
from runmesh.embedded import Server
from runmesh.errors import NotProvisioned, RunmeshError
from tests.eventually import eventually
from tests.posting import all_of

SUBJECT = "mesh.execute.k8s.default.shop.r1.load"
QUEUE = ("EXECUTE_k8s", "pool_default")


@pytest.fixture
async def own_bus(nats_server: Server) -> AsyncIterator[Bus]:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=2)
        yield bus


async def fill(bus: Bus, count: int, start: int = 0) -> None:
    await all_of(bus.post(SUBJECT, str(n).encode(), message_id=str(n)) for n in range(start, start + count))


async def take(pump: Pump, count: int) -> list[Message]:
    async with asyncio.timeout(60):
        return [await anext(pump) for _ in range(count)]


async def test_twenty_thousand_messages_pass_once_each_in_order(bus: Bus) -> None:
    await fill(bus, 20_000)
    seen = []
    async with bus.consume(*QUEUE, slots=256) as pump:
        async for message in pump:
            seen.append(int(message.data))
            await message.ack()
            if len(seen) == 20_000:
                break
    assert seen == list(range(20_000))
    assert await eventually(lambda: drained(bus))


async def test_large_messages_are_bounded_by_their_bytes_and_all_pass(bus: Bus) -> None:
    size, count = 1_000_000, 60
    await asyncio.gather(*(bus.post(SUBJECT, b"x" * size) for _ in range(count)))
    async with bus.consume(*QUEUE, slots=256) as pump:
        held = await take(pump, 16)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    held.append(await anext(pump))
        assert len(held) * size <= 36 * 2**20
        for message in held:
            await message.ack()
        seen = {message.sequence for message in held}
        while len(seen) < count:
            (message,) = await take(pump, 1)
            seen.add(message.sequence)
            await message.ack()
    assert await eventually(lambda: drained(bus))


async def drained(bus: Bus) -> bool:
    return (await bus.stream_info(QUEUE[0])).messages == 0


async def test_what_is_held_never_exceeds_the_slots(bus: Bus) -> None:
    await fill(bus, 2_000)
    held = most = 0

    async def work(message: Message) -> None:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.001)
        held -= 1
        await message.ack()

    async with bus.consume(*QUEUE, slots=7) as pump, asyncio.TaskGroup() as tasks:
        for _ in range(2_000):
            tasks.create_task(work(await anext(pump)))
    assert most == 7


async def test_the_server_has_never_more_out_than_there_are_slots(bus: Bus) -> None:
    await fill(bus, 500)
    async with bus.consume(*QUEUE, slots=7) as pump:
        for _ in range(500):
            message = await anext(pump)
            assert (await bus.consumer_info(*QUEUE)).ack_pending <= 7
            await message.ack(confirmed=True)


async def test_a_held_message_blocks_its_slot_until_it_is_released(bus: Bus) -> None:
    await fill(bus, 3)
    async with bus.consume(*QUEUE, slots=1) as pump:
        (first,) = await take(pump, 1)
        waiting = asyncio.ensure_future(anext(pump))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        first.release()
        first.release()
        assert (await waiting).data == b"1"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(pump)


async def test_more_slots_take_effect_with_the_next_pull(bus: Bus) -> None:
    await fill(bus, 10)
    async with bus.consume(*QUEUE, slots=1) as pump:
        (first,) = await take(pump, 1)
        pump.slots = 10
        first.release()
        assert len(await take(pump, 9)) == 9


async def test_a_refused_message_comes_back_after_its_delay(bus: Bus) -> None:
    await fill(bus, 1)
    async with bus.consume(*QUEUE, slots=1) as pump:
        (message,) = await take(pump, 1)
        await message.nak()
        (again,) = await take(pump, 1)
        assert (again.sequence, again.deliveries) == (message.sequence, 2)
        begun = asyncio.get_running_loop().time()
        await again.nak(delay=0.5)
        (third,) = await take(pump, 1)
        assert third.deliveries == 3
        assert asyncio.get_running_loop().time() - begun > 0.4


async def test_progress_keeps_a_message_from_being_delivered_again(own_bus: Bus) -> None:
    await fill(own_bus, 1)
    async with own_bus.consume(*QUEUE, slots=2) as pump:
        (message,) = await take(pump, 1)
        for _ in range(6):
            await asyncio.sleep(0.5)
            await message.in_progress()
        await message.ack(confirmed=True)
        assert (await own_bus.consumer_info(*QUEUE)).ack_pending == 0
        assert (await own_bus.stream_info(QUEUE[0])).messages == 0


async def test_a_terminated_message_is_gone(bus: Bus) -> None:
    await fill(bus, 1)
    async with bus.consume(*QUEUE, slots=1) as pump:
        (message,) = await take(pump, 1)
        await message.term("undecodable")
        assert await eventually(lambda: drained(bus))


async def test_a_paused_pump_asks_for_nothing(bus: Bus) -> None:
    async with bus.consume(*QUEUE, slots=1) as pump:
        await fill(bus, 2)
        (first,) = await take(pump, 1)
        pump.pause(1.0)
        begun = asyncio.get_running_loop().time()
        await first.ack()
        await take(pump, 1)
        assert asyncio.get_running_loop().time() - begun > 0.9


async def test_leaving_hands_back_what_nobody_took(bus: Bus) -> None:
    await provision(bus, ack_wait=60)
    await fill(bus, 10)
    async with bus.consume(*QUEUE, slots=10) as pump:
        await take(pump, 1)
        await eventually(lambda: pump._arrived.qsize() == 9)  # noqa: SLF001
    async with bus.consume(*QUEUE, slots=10) as pump:
        assert [message.deliveries for message in await take(pump, 9)] == [2] * 9


async def test_an_idle_pump_delivers_what_comes_later(bus: Bus) -> None:
    async with bus.consume(*QUEUE, slots=4) as pump:
        waiting = asyncio.ensure_future(anext(pump))
        await asyncio.wait({waiting}, timeout=5.5)  # longer than a request lives
        await fill(bus, 1)
        assert (await waiting).deliveries == 1


async def test_a_consumer_that_is_not_there_ends_the_pump(bus: Bus) -> None:
    async with bus.consume("EXECUTE_k8s", "pool_nowhere", slots=1) as pump:
        with pytest.raises(NotProvisioned):
            await take(pump, 1)


async def test_a_consumer_that_is_deleted_ends_the_pump(bus: Bus) -> None:
    async with bus.consume(*QUEUE, slots=1) as pump:
        waiting = asyncio.ensure_future(anext(pump))
        await asyncio.wait({waiting}, timeout=0.2)
        await bus.api("CONSUMER.DELETE.EXECUTE_k8s.pool_default")
        with pytest.raises(RunmeshError):
            async with asyncio.timeout(60):
                await waiting


async def test_pumps_share_a_queue(bus: Bus) -> None:
    await fill(bus, 1000)
    seen: Counter[int] = Counter()

    async def drain() -> None:
        async with bus.consume(*QUEUE, slots=16) as pump:
            async for message in pump:
                await message.ack()
                seen[int(message.data)] += 1

    drains = [asyncio.create_task(drain()) for _ in range(3)]
    await eventually(lambda: seen.total() == 1000)
    for task in drains:
        task.cancel()
    await asyncio.wait(drains)
    assert max(seen.values()) == 1


async def test_pumping_goes_on_through_crashes_and_loses_nothing(nats_server: Server, own_bus: Bus) -> None:
    acked: Counter[int] = Counter()
    resumed: list[float] = []
    clock = asyncio.get_running_loop().time

    async def drain() -> None:
        async with own_bus.consume(*QUEUE, slots=64) as pump:
            async for message in pump:
                await message.ack()
                acked[int(message.data)] += 1

    await fill(own_bus, 6_000)
    draining = asyncio.create_task(drain())
    for share in (1000, 2500, 4000):
        await eventually(lambda share=share: len(acked) > share, every=0.001)  # type: ignore[misc]
        await nats_server.kill()
        before = acked.total()
        await nats_server.start()
        begun = clock()
        await eventually(lambda before=before: acked.total() > before + 64, every=0.001)  # type: ignore[misc]
        resumed.append(clock() - begun)
    await eventually(lambda: len(acked) == 6_000)
    await eventually(lambda: drained(own_bus))
    draining.cancel()
    await asyncio.wait({draining})
    assert max(resumed) < 10, "a fetch of nats-py would have waited out its time"


async def test_slots_hold_through_a_crash(nats_server: Server, own_bus: Bus) -> None:
    await fill(own_bus, 100)
    async with own_bus.consume(*QUEUE, slots=5) as pump:
        held = await take(pump, 3)
        await nats_server.kill()
        await nats_server.start()
        held += await take(pump, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(pump)

"""Publishing: confirmed, pipelined, in order, and with a typed error for everything that can go wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from runmesh.errors import Conflict, NotProvisioned, StreamFull, TooLarge, Unreachable
from tests.eventually import eventually

REQUEST = "mesh.request.run.shop"
FACT = "mesh.run.accepted.shop.p.r1"


@pytest.fixture
async def own_bus(nats_server: Server) -> AsyncIterator[Bus]:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus)
        yield bus


async def test_posts_are_stored_in_the_order_of_the_calls(bus: Bus) -> None:
    answers = await asyncio.gather(*(bus.post(REQUEST, str(n).encode()) for n in range(10_000)))
    assert [stored.sequence for stored in answers] == list(range(1, 10_001))
    last = await bus.last("REQUESTS", REQUEST)
    assert last is not None
    assert last.data == b"9999"


async def test_the_same_id_is_stored_once(bus: Bus) -> None:
    first = await bus.publish(REQUEST, b"one", message_id="m1")
    again = await bus.publish(REQUEST, b"two", message_id="m1")
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.sequence == first.sequence


async def test_a_second_writer_with_the_same_expectation_is_in_conflict(bus: Bus) -> None:
    first = await bus.publish(FACT, b"one", last_sequence=0)
    with pytest.raises(Conflict, match=FACT):
        await bus.publish(FACT, b"two", last_sequence=0)
    await bus.publish(FACT, b"three", last_sequence=first.sequence)


async def test_headers_come_back_as_they_were_written_and_are_found_in_any_case(bus: Bus) -> None:
    await bus.publish(REQUEST, b"", headers={"Ce-Id": "1", "traceparent": "00-ü"})
    message = await bus.last("REQUESTS", REQUEST)
    assert message is not None
    assert dict(message.headers) == {"Ce-Id": "1", "traceparent": "00-ü"}
    assert message.headers["ce-id"] == "1"
    assert message.headers.get("TRACEPARENT") == "00-ü"
    assert "ce-type" not in message.headers


async def test_a_full_stream_says_so(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.REQUESTS"))["config"]
    await bus.api("STREAM.UPDATE.REQUESTS", {**config, "max_msgs": 1})
    await bus.publish(REQUEST, b"one")
    with pytest.raises(StreamFull, match=REQUEST):
        await bus.publish(REQUEST, b"two")


async def test_what_exceeds_the_payload_limit_with_its_headers_is_never_sent(bus: Bus) -> None:
    await bus.publish(REQUEST, b"x" * bus.payload_limit)
    with pytest.raises(TooLarge) as raised:
        await bus.publish(REQUEST, b"x" * bus.payload_limit, headers={"a": "b"})
    assert raised.value.size == bus.payload_limit + len("NATS/1.0\r\na: b\r\n\r\n")
    await bus.publish(REQUEST, b"still connected")


async def test_headers_that_just_fit_are_taken(bus: Bus) -> None:
    await bus.publish(REQUEST, b"x" * (bus.payload_limit - len("NATS/1.0\r\na: ü\r\n\r\n") - 1), headers={"a": "ü"})


async def test_a_subject_that_no_stream_takes_is_not_provisioned(bus: Bus) -> None:
    with pytest.raises(NotProvisioned, match=r"mesh\.nowhere"):
        await bus.publish("mesh.nowhere", b"", timeout=0.5)


async def test_a_stream_that_appears_in_time_gets_the_message(nats_server: Server) -> None:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        publishing = asyncio.ensure_future(bus.publish(REQUEST, b"early"))
        with pytest.raises(NotProvisioned):
            await bus.stream_info("REQUESTS")
        await provision(bus)
        assert (await publishing).sequence == 1


async def test_a_subject_that_is_none_is_refused_and_harms_nobody_else(bus: Bus) -> None:
    with pytest.raises(Unreachable, match="not sent"):
        await bus.publish("mesh.request run\r\n", b"")
    await bus.publish(REQUEST, b"")


async def test_a_caller_that_gives_up_leaves_no_trace(bus: Bus) -> None:
    waiting = bus.post("mesh.nowhere", b"")
    waiting.cancel()
    await bus.publish(REQUEST, b"")
    assert waiting.cancelled()


async def test_publishes_go_on_through_a_crash_of_the_server(nats_server: Server, own_bus: Bus) -> None:
    stored = 0

    async def publish(lane: int) -> None:
        nonlocal stored
        for n in range(250):
            await own_bus.publish(REQUEST, b"x" * 200, message_id=f"{lane}.{n}")
            stored += 1

    async with asyncio.TaskGroup() as tasks:
        for lane in range(32):
            tasks.create_task(publish(lane))
        for share in (1000, 3000, 5000):
            await eventually(lambda share=share: stored > share, every=0.001)  # type: ignore[misc]
            await nats_server.kill()
            await nats_server.start()
    assert (await own_bus.stream_info("REQUESTS")).messages == 32 * 250


async def test_while_the_server_is_away_a_publish_ends_in_its_time(nats_server: Server, own_bus: Bus) -> None:
    await nats_server.kill()
    with pytest.raises(Unreachable, match=REQUEST):
        await own_bus.publish(REQUEST, b"", timeout=0.5)


async def test_a_swap_whose_answer_was_lost_is_not_sent_again(nats_server: Server, own_bus: Bus) -> None:
    outcomes: list[BaseException | None] = []

    async def swap(n: int) -> None:
        swapping = own_bus.post(f"mesh.run.accepted.shop.p.r{n}", b"", last_sequence=0)
        await asyncio.wait({swapping})
        outcomes.append(swapping.exception())

    async with asyncio.TaskGroup() as tasks:
        for n in range(20_000):
            tasks.create_task(swap(n))
        await eventually(lambda: len(outcomes) > 100, every=0.001)
        await nats_server.kill()
        await nats_server.start()
    lost = [error for error in outcomes if error is not None]
    assert {type(error) for error in lost} == {Unreachable}
    assert len(outcomes) == 20_000
    assert (await own_bus.stream_info("FACTS")).messages >= 20_000 - len(lost)


async def test_no_server_is_unreachable_and_the_error_names_it() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        async with connect("nats://127.0.0.1:1", name="test", timeout=0.5):
            pass


async def test_what_is_unanswered_when_the_connection_closes_ends(nats_server: Server) -> None:
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        waiting = bus.post("mesh.nowhere", b"")
    with pytest.raises(Unreachable):
        await waiting


async def test_core_messages_reach_who_listens(bus: Bus) -> None:
    await bus.send(REQUEST, b"unconfirmed")
    assert (await eventually(lambda: bus.last("REQUESTS", REQUEST))).data == b"unconfirmed"

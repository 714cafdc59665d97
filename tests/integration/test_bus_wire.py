"""The client underneath the bus, where nats-py's own would fall silent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

import pytest
from nats import errors

from runmesh.bus.reading import Received
from runmesh.bus.wire import Client
from tests.chaos.proxy import Line
from tests.conftest import Address
from tests.eventually import eventually


class Stumbling(Client):
    """Stumbles over its first answer to a ping, as nats-py does over whatever it did not think of."""

    stumbled = False

    async def _process_pong(self) -> None:
        if self.is_connected and not self.stumbled:
            self.stumbled = True
            raise RuntimeError("something in nats-py")
        await super()._process_pong()


async def connect(client: Client, address: Address) -> None:
    async def ignore(_: Exception) -> None:
        pass

    await client.connect(address.url, token=address.token, error_cb=ignore, reconnect_time_wait=0)


async def echoes(client: Client) -> bool:
    """Say whether what is sent still comes back."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(inbox, b"here")
    try:
        return bool((await subscription.next_msg(timeout=1)).data == b"here")
    except errors.TimeoutError:
        return False


@pytest.mark.parametrize("flush", [Client.relieve, Client.flush])
async def test_whoever_is_cancelled_while_it_flushes_ends(
    nats_address: Address, flush: Callable[[Client], Awaitable[None]]
) -> None:
    client = Client()
    await connect(client, nats_address)

    async def flushes() -> None:
        await flush(client)
        await asyncio.Event().wait()

    for pauses in range(20):  # until it flushes, and until it has
        task = asyncio.create_task(flushes())
        for _ in range(pauses):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()
    await client.close()


async def test_a_flush_that_was_cancelled_does_not_end_the_reading(nats_address: Address) -> None:
    client = Client()
    await connect(client, nats_address)
    for _ in range(20):
        flush = asyncio.create_task(client.flush())
        await asyncio.sleep(0)  # its ping is sent
        flush.cancel()
        with suppress(asyncio.CancelledError):
            await flush
        await client.flush()
    assert await echoes(client)
    await client.close()


async def test_reading_goes_on_after_an_error_that_nats_py_only_logs(nats_address: Address) -> None:
    client = Stumbling()
    await connect(client, nats_address)
    with suppress(errors.Error):
        await client.flush(timeout=1)
    await eventually(lambda: echoes(client))
    assert client.stumbled
    await client.close()


async def test_a_server_that_hangs_up_on_a_reconnect_leaves_no_connection_open(nats_address: Address) -> None:
    line, visits, left = Line(nats_address.url), count(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(visits) != 1:
            await line.serve(reader, writer)
            return
        writer.write_eof()  # as a server that dies again before it has said a word
        await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client, (_, port) = Client(), server.sockets[0].getsockname()
        await connect(client, Address(f"nats://127.0.0.1:{port}", nats_address.token))
        line.mend()  # which closes the first
        await eventually(left.is_set)
        await eventually(lambda: echoes(client))
        await client.close()
        await line.close()


async def test_a_listener_that_breaks_loses_one_message_and_no_more(nats_address: Address) -> None:
    client, heard = Client(), list[bytes]()
    await connect(client, nats_address)
    inbox = client.new_inbox()

    def received(message: Received) -> None:
        if message.data == b"broken":
            raise RuntimeError("broken")
        heard.append(message.data)

    await client.listen(inbox, received)
    for data in (b"broken", b"whole"):
        client.send(inbox, data)
    await eventually(lambda: heard == [b"whole"])
    await client.close()


async def test_what_is_sent_with_a_line_break_in_a_header_is_one_message_still(nats_address: Address) -> None:
    client, heard = Client(), list[Received]()
    await connect(client, nats_address)
    inbox = client.new_inbox()
    await client.listen(inbox, heard.append)
    client.send(inbox, b"body", headers={"first": "a\r\nPUB x 0", "second": "b"})
    await eventually(lambda: len(heard) == 1)
    assert (heard[0].headers, heard[0].data) == ({"first": "a PUB x 0", "second": "b"}, b"body")
    await client.close()


@pytest.mark.parametrize("subject", ["", "two words", "line\r\nbreak"])
async def test_a_subject_that_would_break_the_protocol_is_not_sent(nats_address: Address, subject: str) -> None:
    client = Client()
    await connect(client, nats_address)
    with pytest.raises(errors.BadSubjectError):
        client.send(subject, b"")
    assert await echoes(client)
    await client.close()


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_messages_are_the_same_in_whatever_pieces_they_arrive(size: int) -> None:
    heard = list[Received]()
    client = Client()
    client._ps.listeners[7] = heard.append  # noqa: SLF001 - bytes come from a socket otherwise
    wire = (
        b"PONG\r\nMSG a.b 7 0\r\n\r\nMSG a.\x0bc 7 reply 6\r\nx\r\nMSG\r\n+OK\r\n"
        b"HMSG d 7 e 23 25\r\nNATS/1.0 503 Nobody\r\n\r\n\xff\xfe\r\nMSG nobody 9 2\r\nhi\r\nMSG f\xff 7 1\r\ny\r\n"
    )
    for start in range(0, len(wire), size):
        await client._ps.parse(wire[start : start + size])  # noqa: SLF001
    assert heard == [
        Received("a.b", b""),
        Received("a.\x0bc", b"x\r\nMSG", "reply"),
        Received("d", b"\xff\xfe", "e", {"Status": "503", "Description": "Nobody"}),
        Received("f\ufffd", b"y"),
    ]

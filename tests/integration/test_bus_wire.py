"""The client underneath the bus, where nats-py's own would fall silent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from nats import errors
from nats.aio.msg import Msg

from runmesh.bus.wire import Client
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
        await asyncio.wait([task], timeout=5)
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


async def test_a_listener_that_breaks_loses_one_message_and_no_more(nats_address: Address) -> None:
    client, heard = Client(), list[bytes]()
    await connect(client, nats_address)
    inbox = client.new_inbox()

    def received(message: Msg) -> None:
        if message.data == b"broken":
            raise RuntimeError("broken")
        heard.append(message.data)

    await client.listen(inbox, received)
    for data in (b"broken", b"whole"):
        client.send(inbox, data)
    await eventually(lambda: heard == [b"whole"])
    await client.close()


async def test_what_is_sent_with_a_line_break_in_a_header_is_one_message_still(nats_address: Address) -> None:
    client, heard = Client(), list[Msg]()
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

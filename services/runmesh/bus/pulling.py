"""Continuous pull: one subscription that refills itself.

The pump asks the server for as many messages as there are free slots, and asks again as slots come free, without
waiting for the first request to end. What it has asked for and what is held never exceed the slots together. While a
request is open the server sends a heartbeat every second: after three seconds of silence, and whenever the connection
was lost, the pump drops its inbox and asks anew through another one, so that what answers a request from before can't
exceed the slots.

Slots count messages, and a message may be large. So a request is also for so many bytes at most, and none is made while
much is held: a pump never has more than some 32 MiB in its hands, or a few of the largest messages there can be.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Final, Self

from nats.aio.subscription import Subscription

from runmesh.bus.exchange import Exchange
from runmesh.bus.link import Link, background
from runmesh.bus.message import Headers, Message
from runmesh.bus.reading import Received
from runmesh.errors import BusError, NotProvisioned, Unreachable

_EXPIRES: Final = 5.0
_HEARTBEAT: Final = 1.0
_TICK: Final = 0.5
_SILENT_TICKS: Final = 6
_BREATH: Final = 0.2
"""How long to ask for nothing after the server refused a request: it is electing or restarting."""
_V1_TOKENS: Final = 9
_MOST_HELD: Final = 16 * 2**20
"""Bytes from which on nothing is asked for."""
_MOST_ASKED: Final = 4 * 2**20
"""Bytes of one request; a few may be open at once."""
_ROOM: Final = 65_536
"""What a message's subject and its address for answers add to it, as the server counts."""
_ENDS: Final = frozenset({"Batch Completed", "Message Size Exceeds MaxBytes"})
"""How the server says that a request has ended by its own limits."""


@dataclass(slots=True, eq=False)
class Delivered:
    """One delivery, of a message that holds a slot until it is released."""

    pump: "Pump"
    reply: str
    nth: int
    pending: int
    size: int
    held: bool = True

    async def answer(self, verdict: bytes, *, confirmed: bool = False) -> None:
        """Send a verdict. A lost one costs a redelivery, so only a confirmed one raises `Unreachable`."""
        if confirmed:
            await self.pump.exchange.call(self.reply, verdict, lambda _, answer: answer)
        else:
            with suppress(Unreachable):
                await self.pump.link.publish(self.reply, verdict)

    def release(self) -> None:
        """Give the slot back, once."""
        if self.held:
            self.held = False
            self.pump.freed(self.size)


class Pump:
    """The messages of one durable consumer, never more at once than there are free slots."""

    def __init__(self, link: Link, exchange: Exchange, stream: str, consumer: str, *, slots: int) -> None:
        self.link, self.exchange = link, exchange
        self.slots = slots
        """How many messages may be held at once; a new value holds for the next pull."""
        self._address = f"{stream}.{consumer}"
        self._arrived: asyncio.Queue[Message | BusError | None] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._wake.set()  # the first request is made at once
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._held = self._asked = self._silence = 0
        self._bytes = 0
        self._paused_until = 0.0
        self._doubt = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Return the next message. Raises `NotProvisioned` if there is no such consumer, and what is fatal."""
        match await self._arrived.get():
            case Message() as message:
                return message
            case end:
                self._arrived.put_nowait(end)  # for the next one who asks
                if end is None:
                    raise StopAsyncIteration
                raise end

    def pause(self, seconds: float) -> None:
        """Ask for nothing during the next `seconds`. What was asked for before may still come."""
        self._paused_until = max(self._paused_until, monotonic() + seconds)
        asyncio.get_running_loop().call_later(seconds, self._wake.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Pull for the length of the block; what arrived and nobody took is handed back at its end."""
        self.link.on_lost.add(self.interrupted)
        self.link.on_fatal.add(self._failed)
        try:
            async with background(self.link, self._run()):
                yield self
        finally:
            self.link.on_lost.discard(self.interrupted)
            self.link.on_fatal.discard(self._failed)
            await self._close()

    def freed(self, size: int) -> None:
        """Note that a slot is free again, and so many bytes."""
        self._held -= 1
        self._bytes -= size
        if self._wanted():
            self._wake.set()

    def interrupted(self) -> None:
        """Start anew: what was asked for is lost."""
        self._inbox = ""
        self._wake.set()

    def refused(self) -> None:
        """Find out whether the consumer is still there, and take a breath."""
        self._doubt = True
        self.pause(_BREATH)

    def idle(self) -> None:
        """Note that the server had nothing to deliver for a second."""

    def finish(self, end: BusError | None) -> None:
        """End the iteration, after what has arrived."""
        self._arrived.put_nowait(end)

    async def hand_back(self, message: Message) -> None:
        """Let somebody else have a message that nobody took."""
        await message.nak()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_TICK):
                    await self._wake.wait()
            except TimeoutError:
                self._listen_for_silence()
            self._wake.clear()
            with suppress(Unreachable):  # the connection is lost: the next round begins anew
                await self._arm()
                if self._doubt:
                    await self._ask_for_consumer()
                await self._refill()

    def _listen_for_silence(self) -> None:
        # Counted in ticks, since a busy event loop is no silence of the server's.
        self._silence = self._silence + 1 if self._asked else 0
        if self._silence > _SILENT_TICKS:
            self.interrupted()

    async def _arm(self) -> None:
        if self._inbox:
            return
        if self._subscription is not None:
            # Before the connection is back: nats-py would renew it, and with it the requests that we have forgotten.
            old, self._subscription = self._subscription, None
            await self.link.unsubscribe(old)
        await self.link.up.wait()
        self._asked = self._silence = 0
        self._inbox = self.link.client.new_inbox()
        self._subscription = await self.link.listen(f"{self._inbox}.*", partial(self._received, self._inbox))

    async def _ask_for_consumer(self) -> None:
        try:
            await self.exchange.api(f"CONSUMER.INFO.{self._address}")
        except NotProvisioned as error:
            self.finish(error)
        self._doubt = False

    def _wanted(self) -> int:
        free = self.slots - self._held - self._asked
        enough = self.slots // 4 if self._asked else 1  # a request for every single slot would double the traffic
        may = self._bytes < _MOST_HELD and monotonic() >= self._paused_until
        return free if free >= max(enough, 1) and may else 0

    async def _refill(self) -> None:
        if not (batch := self._wanted()):
            return
        self._asked += batch
        request = {
            "batch": batch,
            "max_bytes": max(_MOST_ASKED, self.link.client.max_payload + _ROOM),
            "expires": int(_EXPIRES * 1e9),
            "idle_heartbeat": int(_HEARTBEAT * 1e9),
        }
        try:
            # The batch is in the inbox, so that a refusal says how much was refused.
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._address}"
            await self.link.publish(subject, json.dumps(request).encode(), reply=f"{self._inbox}.{batch}")
        except Unreachable:
            self.interrupted()

    def _received(self, inbox: str, msg: Received) -> None:
        self._silence = 0
        if msg.subject.startswith(inbox):
            if inbox == self._inbox:
                self._status(msg)
            return
        self._asked -= 1
        self._held += 1
        self._bytes += len(msg.data)
        self._arrived.put_nowait(self._message(msg))
        if not self._asked:
            self._wake.set()

    def _status(self, msg: Received) -> None:
        headers = msg.headers or {}
        status = headers.get("Status")
        if status == "100":
            self.idle()
            return
        batch = msg.subject.rpartition(".")[2]
        self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", batch)))
        if status in ("409", "503") and headers.get("Description") not in _ENDS:
            self.refused()  # the consumer has moved, was deleted, never was
        self._wake.set()

    def _message(self, msg: Received) -> Message:
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<nth>.<time>.<pending>
        tokens = msg.reply.split(".")
        first = 4 if len(tokens) == _V1_TOKENS else 6
        deliveries, sequence, nth, nanoseconds, pending = map(int, tokens[first : first + 5])
        at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
        delivered = Delivered(self, msg.reply, nth, pending, len(msg.data))
        return Message(msg.subject, msg.data, Headers(msg.headers), sequence, deliveries, at, delivered)

    def _failed(self, error: BusError, _: str | None) -> None:
        self.finish(error)

    async def _close(self) -> None:
        if self._subscription is not None:
            await self.link.unsubscribe(self._subscription)
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if isinstance(message, Message) and self.link.up.is_set():
                await self.hand_back(message)
        self.finish(None)

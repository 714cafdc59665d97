"""Ordered reads of what a stream holds, through an ephemeral consumer that is made anew after the last message seen.

Such a consumer acknowledges nothing, so a message that is lost on the way shows only as a gap in the delivery
numbers. A gap, a lost connection, a consumer that vanished with its server: the answer is always another consumer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from runmesh.bus.exchange import Exchange
from runmesh.bus.link import Link
from runmesh.bus.message import Message
from runmesh.bus.pulling import Pump
from runmesh.errors import Unreachable

_SLOTS: Final = 4096
_FORGOTTEN_AFTER: Final = 10.0
_BREATH: Final = 0.1


class Feed(Pump):
    """A pump that ends, instead of starting anew, where its messages may have a gap."""

    def __init__(self, link: Link, exchange: Exchange, stream: str, consumer: str, *, live: bool) -> None:
        super().__init__(link, exchange, stream, consumer, slots=_SLOTS)
        self._live = live
        self._seen = 0
        self._ended = False
        self.complete = False
        """Whether it ended because there was no more to read."""
        self.arrived = False
        """Whether all that was stored has been read."""

    async def __anext__(self) -> Message:
        """Return the next message in order."""
        message = await super().__anext__()
        message.release()
        self._seen += 1
        if message.delivery is None or message.delivery.nth != self._seen:
            self.complete = False
            raise StopAsyncIteration
        self.arrived = not message.delivery.pending
        if not self._live and self.arrived:
            self.end(complete=True)
        return message

    def end(self, *, complete: bool) -> None:
        """End after what has arrived."""
        if not self._ended:
            self._ended, self.complete = True, complete
            self.finish(None)

    def interrupted(self) -> None:
        """End: the next consumer begins after the last message seen."""
        self.end(complete=False)

    def refused(self) -> None:
        """End: the consumer has moved or is gone."""
        self.end(complete=False)

    async def hand_back(self, message: Message) -> None:
        """Only let go: there are no acknowledgements here, and permissions to read include none."""
        message.release()

    def idle(self) -> None:
        """End, if only what is stored was wanted: the rest has expired while it was read."""
        if not self._live:
            self.end(complete=True)


async def replay(
    link: Link, exchange: Exchange, stream: str, start: Mapping[str, Any], *, live: bool
) -> AsyncIterator[Message]:
    """Yield a stream's messages in order, each once. `start` is a consumer's configuration: its filter and beginning.

    Not live: ends where the stream ended; raises `Unreachable` if the server is away for too long.
    Live: goes on for ever, whatever happens to the server.
    """
    async with aclosing(progress(link, exchange, stream, start, live=live)) as reading:
        async for message in reading:
            if message is not None:
                yield message


async def progress(
    link: Link, exchange: Exchange, stream: str, start: Mapping[str, Any], *, live: bool
) -> AsyncGenerator[Message | None, None]:
    """Do as `replay`, and yield None as often as all is read that is stored."""
    seen = 0
    while True:
        try:
            feed = await _consumer(link, exchange, stream, start, live=live)
            if feed.arrived:
                yield None
            async with feed.running() as messages:
                async for message in messages:
                    seen = message.sequence
                    yield message
                    if feed.arrived:
                        yield None
            if feed.complete:
                return
            start = after(start, seen) if seen else start
        except Unreachable:
            if not live:
                raise
        await asyncio.sleep(_BREATH)


async def _consumer(link: Link, exchange: Exchange, stream: str, start: Mapping[str, Any], *, live: bool) -> Feed:
    name = uuid4().hex
    config = {
        "name": name,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(_FORGOTTEN_AFTER * 1e9),
        **start,
    }
    address = ".".join([stream, name, *([config["filter_subject"]] if "filter_subject" in config else [])])
    made = await exchange.api(f"CONSUMER.CREATE.{address}", {"stream_name": stream, "config": config})
    feed = Feed(link, exchange, stream, name, live=live)
    feed.arrived = not made["num_pending"]
    if not live and feed.arrived:
        feed.end(complete=True)
    return feed


def beginning(subjects: Sequence[str], since: datetime | None = None) -> dict[str, Any]:
    """Start at the first message of these subjects, or at a time.

    A single one becomes part of the API's subject, so that permissions can say what may be read; several can't.
    """
    chosen: dict[str, Any] = {"filter_subjects": list(subjects)} if subjects else {}
    if len(subjects) == 1:
        chosen = {"filter_subject": subjects[0]}
    if since is None:
        return {**chosen, "deliver_policy": "all"}
    return {**chosen, "deliver_policy": "by_start_time", "opt_start_time": since.astimezone(UTC).isoformat()}


def after(start: Mapping[str, Any], sequence: int) -> dict[str, Any]:
    """Start after a sequence instead."""
    kept = {name: value for name, value in start.items() if name != "opt_start_time"}
    return {**kept, "deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}

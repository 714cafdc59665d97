"""One connection to NATS, as the rest of Runmesh sees it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from runmesh.bus.buckets import Bucket, first, last
from runmesh.bus.exchange import Exchange, decode_stored
from runmesh.bus.link import Link
from runmesh.bus.merging import merged
from runmesh.bus.message import ConsumerInfo, Handler, Headers, Message, Stored, StreamInfo
from runmesh.bus.pulling import Pump
from runmesh.bus.reading import Received
from runmesh.bus.replaying import beginning, progress, replay
from runmesh.bus.serving import Service


class Bus:
    """Publishes, pulls, replays, requests. Everything survives a restart of the server; every wait is bounded."""

    def __init__(self, link: Link, exchange: Exchange) -> None:
        self._link, self._exchange = link, exchange

    @property
    def payload_limit(self) -> int:
        """The largest message that the server takes, in bytes, headers included."""
        return self._link.client.max_payload

    @property
    def connected(self) -> bool:
        """Whether there is a connection at the moment."""
        return self._link.up.is_set()

    @property
    def fatal(self) -> asyncio.Future[None]:
        """Raises, when awaited, the error that no retry cures: a missing permission, credentials that are refused."""
        return asyncio.shield(self._link.fatal)  # whoever stops waiting must not cancel it for the others

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        last_sequence: int | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109 - it includes the retries
    ) -> Stored:
        """Publish to a stream and wait until it is stored, for `timeout` seconds at most.

        A lost answer is answered by sending again: without `message_id` it may then be stored twice. With
        `last_sequence` (the subject's, 0 for none) it is not sent again, but raises `Unreachable`: read what is there.

        Raises `Conflict`, `StreamFull`, `TooLarge`, `NotPermitted`, `NotProvisioned` (no stream takes it),
        `Unreachable`.
        """
        return await self.post(
            subject, data, headers=headers, message_id=message_id, last_sequence=last_sequence, timeout=timeout
        )

    def post(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        last_sequence: int | None = None,
        timeout: float = 10.0,
    ) -> asyncio.Future[Stored]:
        """Do as `publish` without waiting: the order of calls is the order on the wire, the future has the answer."""
        sent = dict(headers or {})
        if message_id is not None:
            sent["Nats-Msg-Id"] = message_id
        if last_sequence is not None:
            sent["Nats-Expected-Last-Subject-Sequence"] = str(last_sequence)
        resend = last_sequence is None
        return self._exchange.call(subject, data, decode_stored, headers=sent or None, timeout=timeout, resend=resend)

    async def send(self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Publish to whoever listens, unconfirmed. Raises `Unreachable` while there is no connection."""
        await self._link.publish(subject, data, headers=headers)

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - the caller's bound, in seconds
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Ask whoever serves `subject`. A refusal is in the header `Nats-Service-Error`.

        Raises `Unreachable`, at once if nobody serves it.
        """
        sent = dict(headers) if headers else None
        return await self._exchange.call(
            subject, data, _reply, headers=sent, timeout=timeout, patient=False, resend=False
        )

    def consume(self, stream: str, durable: str, *, slots: int) -> AbstractAsyncContextManager[Pump]:
        """Pull from a durable consumer, never holding more than `slots` messages."""
        return Pump(self._link, self._exchange, stream, durable, slots=slots).running()

    def replay(
        self, stream: str, *subjects: str, since: datetime | None = None, live: bool = False, singly: bool = False
    ) -> AsyncIterator[Message]:
        """Read what is stored on these subjects (all, if none), in order, from the beginning or a time.

        Ends where the stream ended when it got there; with `live`, goes on for ever, across restarts of the server,
        without loss or doubling. `singly` asks for each subject by itself, which permissions can tell apart, and what
        is not stored yet may then come out of order by a moment. Raises `NotProvisioned`.
        """
        if not singly or len(subjects) < 2:  # noqa: PLR2004 - there is nothing to merge
            return replay(self._link, self._exchange, stream, beginning(subjects, since), live=live)
        starts = [beginning([subject], since) for subject in subjects]
        return merged([progress(self._link, self._exchange, stream, start, live=live) for start in starts])

    async def last(self, stream: str, subject: str) -> Message | None:
        """Read the last message stored on a subject, from the stream's leader."""
        return await last(self._exchange, stream, subject)

    async def first(self, stream: str, subject: str, sequence: int) -> Message | None:
        """Read the first message stored on a subject (or several: with wildcards) from a sequence on."""
        return await first(self._exchange, stream, subject, sequence)

    def bucket(self, name: str) -> Bucket:
        """Return a KV bucket."""
        return Bucket(self._link, self._exchange, name)

    def serve(
        self, name: str, version: str, description: str, endpoints: Mapping[str, tuple[str, Handler]]
    ) -> AbstractAsyncContextManager[None]:
        """Answer requests as a NATS service for the length of the block: endpoint name to (subject, handler).

        What a handler raises is answered as a service error with its text, and with its problems as JSON.
        """
        return Service(self._link, name, version, description).running(endpoints)

    async def stream_info(self, stream: str) -> StreamInfo:
        """Say how much a stream holds. Raises `NotProvisioned`."""
        state = (await self.api(f"STREAM.INFO.{stream}"))["state"]
        return StreamInfo(state["messages"], state["bytes"], state["first_seq"], state["last_seq"])

    async def consumer_info(self, stream: str, durable: str) -> ConsumerInfo:
        """Say how far a durable consumer is. Raises `NotProvisioned`."""
        info = await self.api(f"CONSUMER.INFO.{stream}.{durable}")
        at, ack_wait = datetime.fromisoformat(info["ts"]), info["config"]["ack_wait"] / 1e9
        return ConsumerInfo(info["num_pending"], info["num_ack_pending"], at, ack_wait)

    async def delete_message(self, stream: str, sequence: int) -> None:
        """Delete one stored message."""
        await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})

    async def api(self, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call `$JS.API.<name>`. It may be sent twice, so only for what is idempotent."""
        return await self._exchange.api(name, body)


@asynccontextmanager
async def connect(  # noqa: PLR0913 - the ways to authenticate
    url: str | Sequence[str],
    *,
    name: str,
    token: str | None = None,
    user: str | None = None,
    password: str | None = None,
    nkey: Path | None = None,
    credentials: Path | None = None,
    tls: ssl.SSLContext | None = None,
    inbox_prefix: str = "_INBOX",
    timeout: float = 10.0,  # noqa: ASYNC109 - of the connecting, not of the block
) -> AsyncIterator[Bus]:
    """Connect, and close on leaving. Raises `Unreachable` (no server within `timeout` seconds) or `NotPermitted`.

    `nkey` and `credentials` are files, read again at every reconnect. With `tls`, no server without TLS will do.
    """
    servers = [url] if isinstance(url, str) else url
    options: dict[str, Any] = {"token": token, "user": user, "password": password, "tls": tls}
    if nkey or credentials:
        options |= {"nkeys_seed": nkey and str(nkey), "user_credentials": credentials and str(credentials)}
    link = Link()
    try:
        await link.open(servers, {**options, "name": name, "inbox_prefix": inbox_prefix}, timeout)
        exchange = Exchange(link)
        async with exchange.running():
            yield Bus(link, exchange)
    finally:
        await link.close()


def _reply(_: str, msg: Received) -> Message:
    return Message(msg.subject, msg.data, Headers(msg.headers))

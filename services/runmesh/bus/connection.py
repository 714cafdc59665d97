"""One connection to NATS, as the rest of Runmesh sees it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path

from runmesh.bus.buckets import Bucket
from runmesh.bus.message import ConsumerInfo, Handler, Message, Stored, StreamInfo
from runmesh.bus.pulling import Pump


class Bus:
    """Publishes, pulls, replays, requests. Everything survives a restart of the server; every wait is bounded."""

    payload_limit: int
    """The largest message that the server takes, in bytes, headers included."""
    fatal: asyncio.Future[None]
    """Raises, when awaited, the error that no retry cures: a missing permission, credentials that are refused."""

    async def publish(  # noqa: PLR0913 - the headers of JetStream, by name
        self,
        subject: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        last_sequence: int | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109 - part of the retry rule
    ) -> Stored:
        """Publish to a stream and wait until it is stored."""
        raise NotImplementedError

    def post(  # noqa: PLR0913 - as publish
        self,
        subject: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        last_sequence: int | None = None,
        timeout: float = 10.0,
    ) -> asyncio.Future[Stored]:
        """Publish to a stream without waiting: the order of calls is the order on the wire."""
        raise NotImplementedError

    async def send(self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Publish to whoever listens, unconfirmed."""
        raise NotImplementedError

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - the caller's bound, in seconds
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Ask whoever serves `subject`. Raises `Unreachable`."""
        raise NotImplementedError

    def consume(self, stream: str, durable: str, *, slots: int) -> AbstractAsyncContextManager[Pump]:
        """Pull from a durable consumer, never holding more than `slots` messages."""
        raise NotImplementedError

    def replay(
        self, stream: str, *subjects: str, since: datetime | None = None, live: bool = False
    ) -> AsyncIterator[Message]:
        """Read what is stored, in order; with `live`, go on with what comes, without loss or doubling."""
        raise NotImplementedError

    async def last(self, stream: str, subject: str) -> Message | None:
        """Read the last message stored on a subject."""
        raise NotImplementedError

    def bucket(self, name: str) -> Bucket:
        """Return a KV bucket."""
        raise NotImplementedError

    def serve(
        self, name: str, version: str, description: str, endpoints: Mapping[str, tuple[str, Handler]]
    ) -> AbstractAsyncContextManager[None]:
        """Answer requests as a NATS service: endpoint name to (subject, handler)."""
        raise NotImplementedError

    async def stream_info(self, stream: str) -> StreamInfo:
        """Say how much a stream holds. Raises `NotProvisioned`."""
        raise NotImplementedError

    async def consumer_info(self, stream: str, durable: str) -> ConsumerInfo:
        """Say how far a durable consumer is. Raises `NotProvisioned`."""
        raise NotImplementedError

    async def delete_message(self, stream: str, sequence: int) -> None:
        """Delete one stored message."""
        raise NotImplementedError


@asynccontextmanager
async def connect(  # noqa: PLR0913 - the ways to authenticate
    url: str | Sequence[str],
    *,
    name: str,
    token: str | None = None,
    user: str | None = None,
    password: str | None = None,
    credentials: Path | None = None,
    inbox_prefix: str = "_INBOX",
) -> AsyncIterator[Bus]:
    """Connect, and close on leaving. Raises `Unreachable` (no server within 10 seconds) or `NotPermitted`."""
    raise NotImplementedError
    yield Bus()

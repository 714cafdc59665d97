"""A NATS key-value bucket: a stream `KV_<bucket>` that keeps the last message of every subject `$KV.<bucket>.<key>`.

The revision of a key is the sequence of its last message, so compare-and-swap is an expected last sequence. Deleting
writes a marker, which vanishes after a minute; until then the key has a history, and `create` goes by the marker.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any, Final

from runmesh.bus.exchange import Exchange, decode_json, decode_revision
from runmesh.bus.link import Link
from runmesh.bus.message import Deleted, Entry, Headers, Message
from runmesh.bus.reading import Received, read_headers
from runmesh.bus.refusals import NO_MESSAGE, Refused
from runmesh.bus.replaying import after, beginning, replay
from runmesh.errors import Conflict

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_DELETE: Final = {"KV-Operation": "DEL", "Nats-TTL": "1m"}
_DROP: Final = {"KV-Operation": "DEL", "Nats-TTL": "1s"}
"""The shortest that the server takes."""
_FEW: Final = 8
"""Entries that are read one by one, before a consumer costs less."""


class Bucket:
    """One KV bucket, compatible with any NATS KV client. Reads go to the leader: what was just written is seen.

    Everything raises `NotProvisioned` if there is no such bucket, and `Unreachable`: a write may then have happened.
    """

    def __init__(self, link: Link, exchange: Exchange, name: str) -> None:
        self._link, self._exchange = link, exchange
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """Read one key."""
        message = await self._last(key)
        return None if message is None or _deletes(message) else self._entry(message)

    def post(self, key: str, value: bytes, *, revision: int | None = None) -> asyncio.Future[int]:
        """Send a write now, in the order of the calls; the future holds its revision.

        `revision` is the expected one (else `Conflict`), 0 if the key must have no history, None for any.
        """
        return self._write(key, value, {}, revision)

    async def put(self, key: str, value: bytes) -> int:
        """Write, whatever is there; return the revision."""
        return await self.post(key, value)

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that isn't there (or was deleted). Raises `Conflict` if it is."""
        try:
            return await self.post(key, value, revision=0)
        except Conflict:
            last = await self._last(key)
            if last is not None and not _deletes(last):
                raise
            return await self.post(key, value, revision=last.sequence if last else 0)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write if the key still is at `revision`. Raises `Conflict` otherwise."""
        return await self.post(key, value, revision=revision)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Delete, if still at `revision` when one is given (else `Conflict`)."""
        await self._write(key, b"", _DELETE, revision)

    async def drop(self, key: str) -> None:
        """Delete a key that many listings would pass over while its marker is there: that one vanishes at once."""
        await self._write(key, b"", _DROP, None)

    async def entries(self, pattern: str = ">") -> list[Entry]:
        """List what is there now. What was written while it was read may be missing."""
        found = {message.subject: message async for message in self._stored(pattern, headers_only=False)}
        return [self._entry(message) for message in found.values() if not _deletes(message)]

    async def oldest(self, pattern: str = ">") -> AsyncGenerator[Entry, None]:
        """Yield what is there now, the least recently written first. The first few cost no consumer."""
        sequence = 0
        for _ in range(_FEW):
            message = await self._next(pattern, sequence + 1)
            if message is None:
                return
            sequence = message.sequence
            if not _deletes(message):
                yield self._entry(message)
        start = after(beginning([self._prefix + pattern]), sequence)
        async for message in replay(self._link, self._exchange, self._stream, start, live=False):
            if not _deletes(message):
                yield self._entry(message)

    async def keys(self, pattern: str = ">") -> list[str]:
        """List the keys that are there now."""
        found = {message.subject: message async for message in self._stored(pattern, headers_only=True)}
        return [subject.removeprefix(self._prefix) for subject, message in found.items() if not _deletes(message)]

    async def named(self, prefix: str) -> set[str]:
        """List what follows a prefix in the keys that are there now, and in those whose marker is.

        Costs a twentieth of `keys`: the server tells a hundred thousand at a time. What is deleted meanwhile may hide
        others.
        """
        start, found = self._prefix + prefix, set[str]()
        while True:
            request = {"subjects_filter": f"{start}>", "offset": len(found)}
            info = await self._exchange.api(f"STREAM.INFO.{self._stream}", request)
            page = {subject[len(start) :] for subject in info["state"].get("subjects") or ()}
            if page <= found:
                return found
            found |= page

    async def watch(self, pattern: str = ">") -> AsyncIterator[Entry | Deleted]:
        """Yield changes from the first step on, for ever. A hint: pair it with a periodic `entries`."""
        info = await self._exchange.api(f"STREAM.INFO.{self._stream}")
        start = after(beginning([self._prefix + pattern]), info["state"]["last_seq"])
        async for message in replay(self._link, self._exchange, self._stream, start, live=True):
            entry = self._entry(message)
            yield Deleted(entry.key) if _deletes(message) else entry

    def _stored(self, pattern: str, *, headers_only: bool) -> AsyncIterator[Message]:
        # Every message is the last of its subject: the stream keeps only one.
        start = {**beginning([self._prefix + pattern]), "headers_only": headers_only}
        return replay(self._link, self._exchange, self._stream, start, live=False)

    def _write(self, key: str, value: bytes, headers: dict[str, str], revision: int | None) -> asyncio.Future[int]:
        if revision is not None:
            headers = {**headers, _EXPECTED: str(revision)}
        return self._exchange.call(
            self._prefix + key, value, decode_revision, headers=headers or None, resend=revision is None
        )

    async def _last(self, key: str) -> Message | None:
        return await last(self._exchange, self._stream, self._prefix + key)

    async def _next(self, pattern: str, sequence: int) -> Message | None:
        """Read the first message from a sequence on."""
        return await _read(self._exchange, self._stream, {"next_by_subj": self._prefix + pattern, "seq": sequence})

    def _entry(self, message: Message) -> Entry:
        return Entry(message.subject.removeprefix(self._prefix), message.data, message.sequence, message.at)


async def last(exchange: Exchange, stream: str, subject: str) -> Message | None:
    """Read the last message of a subject from the stream's leader."""
    return await _read(exchange, stream, {"last_by_subj": subject})


async def first(exchange: Exchange, stream: str, subject: str, sequence: int) -> Message | None:
    """Read the first message on a subject from a sequence on, from the stream's leader."""
    return await _read(exchange, stream, {"seq": sequence, "next_by_subj": subject})


async def _read(exchange: Exchange, stream: str, request: dict[str, str | int]) -> Message | None:
    body = json.dumps(request).encode()
    try:
        return await exchange.call(f"$JS.API.STREAM.MSG.GET.{stream}", body, _stored_message, timeout=5.0)
    except Refused as refused:
        if refused.code == NO_MESSAGE:
            return None
        raise


def _stored_message(subject: str, msg: Received) -> Message:
    stored: dict[str, Any] = decode_json(subject, msg)["message"]
    headers = read_headers(b64decode(stored.get("hdrs", "")))
    data = b64decode(stored.get("data", ""))
    return Message(stored["subject"], data, Headers(headers), stored["seq"], at=datetime.fromisoformat(stored["time"]))


def _deletes(message: Message) -> bool:
    return "KV-Operation" in message.headers or "Nats-Marker-Reason" in message.headers

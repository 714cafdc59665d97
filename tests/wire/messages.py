"""Messages as files: what is published, and whole streams, heard on one mesh and told to another."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import nats
from nats.aio.msg import Msg

from runmesh.bus import Bus
from runmesh.bus.refusals import Refused
from runmesh.embedded import Server

_OF_ONE_WRITE = ("Nats-Expected-", "Nats-Msg-Id")
"""Headers that are about the writing of a message, not about what it says."""


class Spoken(NamedTuple):
    """One message, as it is published."""

    subject: str
    headers: dict[str, str]
    data: bytes

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it: text as text, what is compressed in base64."""
        try:
            body = {"text": self.data.decode()}
        except UnicodeDecodeError:
            body = {"base64": b64encode(self.data).decode()}
        return {"subject": self.subject, "headers": self.headers, **body}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """Read it again."""
        data = plain["text"].encode() if "text" in plain else b64decode(plain["base64"])
        return cls(plain["subject"], plain["headers"], data)


@asynccontextmanager
async def overheard(server: Server, *subjects: str) -> AsyncIterator[list[Spoken]]:
    """Hear all that is published on these subjects while the block runs."""
    heard: list[Spoken] = []

    async def hear(message: Msg) -> None:
        heard.append(Spoken(message.subject, dict(message.headers or {}), message.data))

    client = await nats.connect(server.url, token=server.token)
    try:
        for subject in subjects:
            await client.subscribe(subject, cb=hear)
        await client.flush()
        yield heard
    finally:
        await client.drain()


async def stored(bus: Bus) -> list[dict[str, Any]]:
    """Return every stream: its configuration, those of its consumers, and its messages."""
    streams = (await bus.api("STREAM.LIST"))["streams"]
    return [await _stored(bus, stream["config"]) for stream in streams]


async def _stored(bus: Bus, config: dict[str, Any]) -> dict[str, Any]:
    name = config["name"]
    consumers = (await bus.api(f"CONSUMER.LIST.{name}"))["consumers"] or ()
    info = await bus.stream_info(name)
    found = [await _message(bus, name, sequence) for sequence in range(info.first, info.last + 1)]
    return {
        "config": config,
        "consumers": [each["config"] for each in consumers if each["config"].get("durable_name")],
        "messages": [message.plain() for message in found if message],
    }


async def _message(bus: Bus, stream: str, sequence: int) -> Spoken | None:
    try:
        found = (await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
    except Refused:  # deleted meanwhile, or replaced by a later value of its key
        return None
    lines = b64decode(found.get("hdrs", "")).decode().split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)
    said = {name: value for name, value in headers.items() if not name.startswith(_OF_ONE_WRITE)}
    return Spoken(found["subject"], said, b64decode(found.get("data", "")))


async def restore(bus: Bus, streams: list[dict[str, Any]]) -> None:
    """Make these streams, where none is, with their consumers and messages."""
    for stream in streams:
        name = stream["config"]["name"]
        await bus.api(f"STREAM.CREATE.{name}", stream["config"])
        for consumer in stream["consumers"]:
            body = {"stream_name": name, "config": consumer}
            await bus.api(f"CONSUMER.DURABLE.CREATE.{name}.{consumer['durable_name']}", body)
        for message in map(Spoken.of, stream["messages"]):
            await bus.publish(message.subject, message.data, headers=message.headers)

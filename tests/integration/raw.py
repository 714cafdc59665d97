"""A connection to NATS that sends whatever bytes it is given: no client library would."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from runmesh.embedded import Server


def framed(subject: bytes, body: bytes, headers: bytes | None = None) -> bytes:
    """Return one message as it stands on the wire."""
    if headers is None:
        return b"PUB %s %d\r\n%s\r\n" % (subject, len(body), body)
    size = len(headers)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, size, size + len(body), headers, body)


@dataclass(frozen=True)
class Raw:
    """The connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *messages: bytes) -> None:
        """Send, and return when the server has taken all of it. Raises if it has complained."""
        self.writer.write(b"".join(messages) + b"PING\r\n")
        async with asyncio.timeout(60):
            while (line := await self.reader.readline()) != b"PONG\r\n":
                if line == b"PING\r\n":
                    self.writer.write(b"PONG\r\n")
                else:
                    raise ConnectionError(line)


@asynccontextmanager
async def raw(server: Server) -> AsyncIterator[Raw]:
    """Connect, for the length of the block."""
    host, port = re.fullmatch(r"nats://(.+):(\d+)", server.url).groups()  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await reader.readline()
        writer.write(b'CONNECT {"verbose":false,"headers":true,"auth_token":"%s"}\r\n' % server.token.encode())
        connection = Raw(reader, writer)
        await connection.send()
        yield connection
    finally:
        writer.close()
        await writer.wait_closed()

"""nats-py's client, which also survives what it can't read, and what nobody waits for any more.

The server stores whatever somebody publishes: a header block that is none, a subject that is no UTF-8 or holds a
vertical tab. nats-py drops its connection over each of them, and gets the same message again after the reconnect; so
one message would stop everything that reads the stream. Here it is read as far as possible, and judged as any other.
"""

import asyncio
import re
from typing import Any

from nats import errors
from nats.aio import client
from nats.aio.msg import Msg
from nats.protocol import parser

# Any white space ends a subject for nats-py; for the server, which wrote the line, only a space does.
parser.MSG_RE = re.compile(rb"\AMSG ([^ \r\n]+) ([^ \r\n]+) (([^ \r\n]+) )?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG ([^ \r\n]+) ([^ \r\n]+) (([^ \r\n]+) )?(\d+) (\d+)\r\n")


class Client(client.Client):
    """Reads unreadable headers as none, and what is no UTF-8 in a subject as U+FFFD. Never stops reading silently."""

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected:  # it gave up over an error that it only logged
            await self._process_op_err(errors.StaleConnectionError())

    async def _process_pong(self) -> None:
        # The flush that waited for this may have been cancelled: nats-py would stumble over its future.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (LookupError, ValueError):
            return None

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Msg:
        if not subject.isascii():
            subject = subject.decode(errors="replace").encode()
        if not reply.isascii():
            reply = reply.decode(errors="replace").encode()
        message: Msg = super()._build_message(sid, subject, reply, data, headers)
        return message

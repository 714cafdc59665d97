"""nats-py's client, on a shorter way, which also survives what it can't read and what nobody waits for any more.

The server stores whatever somebody publishes: a header block that is none, a subject that is no UTF-8 or holds a
vertical tab. nats-py drops its connection over each of them, and gets the same message again after the reconnect; so
one message would stop everything that reads the stream. Here it is read as far as possible, and judged as any other.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from nats import errors
from nats.aio import client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol import parser

from runmesh.bus.reading import Parser, Received

# Any white space ends a subject for nats-py; for the server, which wrote the line, only a space does.
parser.MSG_RE = re.compile(rb"\AMSG ([^ \r\n]+) ([^ \r\n]+) (([^ \r\n]+) )?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG ([^ \r\n]+) ([^ \r\n]+) (([^ \r\n]+) )?(\d+) (\d+)\r\n")

T = TypeVar("T")

_MOST_PENDING: Final = 1_000_000
"""Bytes not yet handed to the socket."""


class Client(client.Client):
    """Reads unreadable headers as none, and what is no UTF-8 in a subject as U+FFFD. Never stops reading silently."""

    def __init__(self) -> None:
        super().__init__()
        self._ps: Parser = Parser(self)
        self._nobody_waits = asyncio.get_running_loop().create_future()
        self._nobody_waits.set_result(None)

    async def listen(self, subject: str, received: Callable[[Received], None]) -> Subscription:
        """Subscribe, and be called at once with every message: no queue between, no task, nothing awaited."""
        subscription = await self.subscribe(subject)
        self._ps.listeners[subscription._id] = received  # noqa: SLF001 - nats-py has no public name for it
        return subscription

    def send(self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Publish without waiting for the socket: see `crowded`. Raises `ConnectionClosedError`."""
        if self.is_closed:
            raise errors.ConnectionClosedError
        to = f"{subject} {reply}" if reply else subject
        if len(to.split()) != 1 + bool(reply):
            raise errors.BadSubjectError
        if headers:
            block = _header_block(headers)
            line = f"HPUB {to} {len(block)} {len(block) + len(data)}\r\n"
            command = b"".join((line.encode(), block, data, b"\r\n"))
        else:
            command = b"".join((f"PUB {to} {len(data)}\r\n".encode(), data, b"\r\n"))
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self.is_connected and self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(self._nobody_waits)

    @property
    def wants_certificate(self) -> bool:
        """Whether the server that was reached last asks for a certificate."""
        return bool(self._server_info.get("tls_verify"))

    @property
    def crowded(self) -> bool:
        """More is sent than the socket takes: whoever sends should `relieve` it first."""
        return bool(self._pending_data_size > _MOST_PENDING)

    async def relieve(self) -> None:
        """Wait until the socket has taken what was sent, within nats-py's bound for a flush."""
        await self._flush_pending(force_flush=True)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._ps.listeners.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def flush(self, timeout: int = 10) -> None:  # noqa: ASYNC109 - nats-py's signature
        """Send what is buffered, and wait until the server has it."""
        await _heeding(super().flush(timeout))

    async def _flush_pending(self, force_flush: bool = False) -> Any:  # noqa: FBT001, FBT002 - likewise
        return await _heeding(super()._flush_pending(force_flush))

    async def _connect_to_server(self, server: Any) -> None:
        if self._transport:  # whose server hung up while a reconnect shook hands: nats-py would forget it, still open
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(server)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected:  # it gave up over an error that it only logged
            await self._process_op_err(errors.StaleConnectionError())

    async def _process_pong(self) -> None:
        # The flush that waited for this may have been cancelled: nats-py would stumble over its future.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if parser.PERMISSIONS_ERR in err_msg:
            await self._error_cb(errors.Error(self._ps.complaint))
        else:
            await super()._process_err(err_msg)

    def _connect_command(self) -> bytes:
        if self.options.get("tls") and not self._server_info.get("tls_required"):
            raise errors.SecureConnWantedError  # nats-py would send the password all the same
        command: bytes = super()._connect_command()
        return command

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


async def _heeding(flushing: Coroutine[Any, Any, T]) -> T:
    """Flush, and raise a cancellation that came meanwhile: nats-py swallows it, and its task would never end."""
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    result = await flushing
    if task and task.cancelling() > asked:
        raise asyncio.CancelledError
    return result


def _header_block(headers: Mapping[str, str]) -> bytes:
    """Write headers as they stand on the wire. A line break becomes a space: it would end the header."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        return _header_block({" ".join(n.splitlines()): " ".join(v.splitlines()) for n, v in headers.items()})
    return f"NATS/1.0\r\n{text}\r\n".encode()

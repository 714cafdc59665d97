"""What an orchestrator asks a service over HTTP: is it alive, is it ready, what are its figures.

=============  ============================================================
``/healthz``   200 as long as the event loop turns
``/readyz``    200 while the service takes work, 503 before and while it drains
``/metrics``   the Prometheus text format
=============  ============================================================
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_PATIENCE: Final = 5.0
_PLAIN: Final = "text/plain; charset=utf-8"

Answer = tuple[HTTPStatus, str, bytes]


@asynccontextmanager
async def health(port: int | None, ready: Callable[[], bool]) -> AsyncIterator[int | None]:
    """Answer on `port` (0: a free one) for the length of the block, and yield it; without a port, do nothing."""
    if port is None:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _answer(reader, writer, ready)
        except (TimeoutError, OSError, ValueError):
            pass  # whoever asked is gone, or speaks something else
        finally:
            writer.close()

    async with await asyncio.start_server(answer, port=port) as server:
        # A free port is another one for IPv4 and for IPv6, and asyncio lists the two in any order: say IPv4's.
        yield min(server.sockets, key=lambda socket: socket.family).getsockname()[1]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ready: Callable[[], bool]) -> None:
    request = (await reader.readline()).decode("latin-1").split()
    while (await reader.readline()).strip():
        pass
    status, kind, body = _page(request[1] if len(request) > 1 else "", ready)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    await writer.drain()


def _page(path: str, ready: Callable[[], bool]) -> Answer:
    match path.partition("?")[0]:
        case "/healthz":
            return HTTPStatus.OK, _PLAIN, b"ok\n"
        case "/readyz" if ready():
            return HTTPStatus.OK, _PLAIN, b"ready\n"
        case "/readyz":
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, b"not ready\n"
        case "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest()
        case _:
            return HTTPStatus.NOT_FOUND, _PLAIN, b"/healthz, /readyz, /metrics\n"

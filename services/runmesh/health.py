"""What an orchestrator asks a service over HTTP: is it alive, is it ready, what are its figures.

=============  ===================================================================
``/livez``     200 as long as the event loop turns
``/readyz``    200 while the service works; else 503 and every reason, one a line
``/metrics``   the Prometheus text format
=============  ===================================================================
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runmesh.errors import Invalid, Problem

_PATIENCE: Final = 5.0
_PLAIN: Final = "text/plain; charset=utf-8"

Answer = tuple[HTTPStatus, str, bytes]
Reasons = Callable[[], Sequence[str]]
"""Says why a service is not ready: not at all, if it is."""


@asynccontextmanager
async def health(port: int | None, reasons: Reasons) -> AsyncIterator[int | None]:
    """Answer on `port` (0: a free one) for the length of the block, and yield it; without a port, do nothing.

    Raises `Invalid` if the port can't be had.
    """
    if port is None:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _answer(reader, writer, reasons)
        except (TimeoutError, OSError, ValueError):
            pass  # whoever asked is gone, or speaks something else
        finally:
            writer.close()

    async with await _listening(port, answer) as server:
        # A free port is another one for IPv4 and for IPv6, and asyncio lists the two in any order: say IPv4's.
        yield min(server.sockets, key=lambda socket: socket.family).getsockname()[1]


async def _listening(
    port: int, answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> asyncio.Server:
    try:
        return await asyncio.start_server(answer, port=port)
    except OSError as error:
        problem = Problem("RUNMESH_HEALTH_PORT", f"can't listen on {port}: {error.strerror}", "0 takes a free port")
        raise Invalid(problem) from error


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reasons: Reasons) -> None:
    request = (await reader.readline()).decode("latin-1").split()
    while (await reader.readline()).strip():
        pass
    status, kind, body = await _page(request[1] if len(request) > 1 else "", reasons)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    await writer.drain()


async def _page(path: str, reasons: Reasons) -> Answer:
    match path.partition("?")[0]:
        case "/livez":
            return HTTPStatus.OK, _PLAIN, b"ok\n"
        case "/readyz" if why := reasons():
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, "".join(f"{line}\n" for line in why).encode()
        case "/readyz":
            return HTTPStatus.OK, _PLAIN, b"ready\n"
        case "/metrics":
            # In a thread: it takes tens of milliseconds, for which nothing else should wait.
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, await asyncio.to_thread(generate_latest)
        case _:
            return HTTPStatus.NOT_FOUND, _PLAIN, b"/livez, /readyz, /metrics\n"

"""Between a service and its NATS server: a line that can be cut, and made slow, without touching either end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class Line:
    """A TCP proxy on a port of its own."""

    def __init__(self, target: str) -> None:
        self._host, self._port = urlsplit(target).hostname, urlsplit(target).port
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.whole = asyncio.Event()
        """Cleared: what is sent is lost in the line, and no new connection is answered."""
        self.whole.set()
        self.delay = 0.0
        """Seconds that everything takes longer, each way."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection to the target."""
        await self.whole.wait()
        with suppress(OSError):
            there, back = await asyncio.open_connection(self._host, self._port)
            self._writers |= {writer, back}
            for source, sink in ((reader, back), (there, writer)):
                pump = asyncio.create_task(self._pump(source, sink))
                self._pumps.add(pump)
                pump.add_done_callback(self._pumps.discard)

    def cut(self) -> None:
        """Let nothing through any more, in either direction, without a word to either end."""
        self.whole.clear()

    def mend(self) -> None:
        """Let new connections through; those that were cut are closed."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self.whole.set()

    async def close(self) -> None:
        """End all."""
        self.mend()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await asyncio.sleep(self.delay)
                if self.whole.is_set():
                    sink.write(data)
                    await sink.drain()
        sink.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """Run a proxy to a server for the length of the block."""
    line = Line(url)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        await line.close()

"""What every service does alike: connect, refuse a mesh that isn't provisioned, run, drain, end.

SIGTERM and SIGINT drain: the service takes nothing new and ends when what it holds is done or handed over.
A second signal ends it at once, which loses nothing either: others take over what it held.
"""

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Protocol, runtime_checkable

import structlog

from runmesh import __version__, logs
from runmesh.bus import Bus, connect
from runmesh.bus.message import Handler
from runmesh.errors import NotProvisioned
from runmesh.health import health
from runmesh.settings import Settings

Needs = Collection[tuple[str, str]]
"""The (stream, durable consumer) pairs without which a service can't work."""


class Service(Protocol):
    """What is run: `run` returns after `drain`, and raises what should end the process."""

    async def run(self) -> None:
        """Work until drained."""
        ...

    def drain(self) -> None:
        """Take nothing new, and let `run` return when what is held is done or handed over."""
        ...


@runtime_checkable
class Answers(Protocol):
    """A service that also answers requests (an optional power): endpoint name to (subject, handler)."""

    def endpoints(self) -> Mapping[str, tuple[str, Handler]]:
        """Return what it answers."""
        ...


async def serve(name: str, settings: Settings, needs: Needs, make: Callable[[Bus], Service]) -> None:
    """Run one service until it has drained. Raises what is fatal: the caller's to print."""
    logs.configure(name, settings)
    log = structlog.get_logger().bind(service=name)
    async with connect(settings.servers, name=f"runmesh {name}", **settings.login) as bus:
        await provisioned(bus, needs)
        service = make(bus)
        running = asyncio.create_task(service.run(), name=name)
        draining = asyncio.Event()
        async with AsyncExitStack() as stack:
            stack.enter_context(_drained_by_signals(service, running, draining))
            port = await stack.enter_async_context(
                health(settings.health_port, lambda: not (draining.is_set() or running.done()))
            )
            endpoints = service.endpoints() if isinstance(service, Answers) else {}
            await stack.enter_async_context(bus.serve(_service_name(name), __version__, f"Runmesh {name}", endpoints))
            log.info("started", action="start", version=__version__, health_port=port)
            await _until_end(running, bus.fatal)
        log.info("stopped", action="stop")


async def provisioned(bus: Bus, needs: Needs) -> None:
    """Raise `NotProvisioned`, saying what to do, unless every consumer that is needed is there."""
    for stream, durable in needs:
        try:
            await bus.consumer_info(stream, durable)
        except NotProvisioned:
            raise NotProvisioned(
                f"consumer {durable!r} of stream {stream} is missing: run `runmesh provision` first"
            ) from None


async def _until_end(running: asyncio.Task[None], fatal: asyncio.Future[None]) -> None:
    """Wait for the service or for what no retry cures, whichever is first."""
    try:
        await asyncio.wait({running, fatal}, return_when=asyncio.FIRST_COMPLETED)
        if fatal.done() and not running.done():
            fatal.result()
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
    if not running.cancelled():
        running.result()


@contextmanager
def _drained_by_signals(service: Service, running: asyncio.Task[None], draining: asyncio.Event) -> Iterator[None]:
    def on_signal() -> None:
        if draining.is_set():
            running.cancel()
        else:
            draining.set()
            service.drain()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _service_name(name: str) -> str:
    return "runmesh-" + name.replace(" ", "-")

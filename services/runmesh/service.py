"""What every service does alike: connect, wait for a mesh that is provisioned, work, drain, end.

What only time or an operator cures (no server, no stream) is told once and tried again for as long as it takes, while
`/readyz` says why. What no retry cures (credentials that are refused, a missing permission) ends the process.

SIGTERM and SIGINT drain: the service takes nothing new and ends when what it holds is done or handed over.
A second signal ends it at once, which loses nothing either: others take over what it held.
"""

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time
from typing import Final, NoReturn, Protocol, runtime_checkable

import structlog

from runmesh import __version__, logs, redaction, subjects
from runmesh.bus import Bus, connect
from runmesh.bus.message import Handler
from runmesh.clock import MOST_SKEW, ahead, clock, longer
from runmesh.errors import NotProvisioned, RunmeshError, Unreachable
from runmesh.health import health
from runmesh.lag import Lag, measured
from runmesh.settings import Settings, environment
from runmesh.tracing import traced

Needs = Collection[tuple[str, str]]
"""The (stream, durable consumer) pairs without which a service can't work."""

_CONNECT_WITHIN: Final = 5.0
_PAUSE: Final = 1.0
_LOOK: Final = 15.0
_MOST_LAG: Final = 2.0

log = structlog.get_logger()


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


@runtime_checkable
class Depends(Protocol):
    """A service that needs something beside NATS (an optional power)."""

    def troubles(self) -> Sequence[str]:
        """Say what it lacks at the moment, one line each."""
        ...


async def serve(name: str, settings: Settings, needs: Needs, make: Callable[[Bus], Service]) -> None:
    """Run one service until it has drained. Raises what is fatal: the caller's to print."""
    logs.configure(name, settings)
    async with traced(name, environment()), measured() as lag:
        life = _Life(name, settings, needs, make, lag)
        async with health(settings.health_port, life.reasons) as port:
            life.port = port
            living = asyncio.create_task(life.live(), name=name)
            with _signals(lambda: life.stop(living)):
                await _end_of(living)
    log.info("stopped", action="stop")


class _Life:
    """A service from its start to its end, and what it waits for meanwhile."""

    def __init__(self, name: str, settings: Settings, needs: Needs, make: Callable[[Bus], Service], lag: Lag) -> None:
        self._name, self._settings, self._needs, self._make, self._lag = name, settings, needs, make, lag
        self.port: int | None = None
        self._secrets = redaction.known_in(environment(), settings.model_dump(mode="json"))
        self._at_work: tuple[Bus, Service] | None = None
        self._draining = self._worked = False
        self._waits_for: RunmeshError | None = None
        self._silent: RunmeshError | None = None
        self._skewed = False

    def reasons(self) -> list[str]:
        """Say why it is not ready, one line each: without secrets, for anybody may ask who reaches the port."""
        return [redaction.hide(why, self._secrets) for why in (*self._hindrances(), *self._late())]

    def stop(self, living: asyncio.Task[None]) -> None:
        """Drain; at once if that was asked for before, or if there is nothing to drain yet."""
        if self._draining or self._at_work is None:
            living.cancel()
        else:
            self._at_work[1].drain()
        self._draining = True

    async def live(self) -> None:
        """Connect and work until drained, again and again while what is needed is not there."""
        pause = _PAUSE
        while True:
            began, self._worked = clock(), False
            try:
                await self._connected()
            except Exception as error:
                if self._draining or (waits_for := _curable(error)) is None:
                    raise
                self._wait_for(waits_for)
            else:
                return
            pause = longer(pause, lived=clock() - began, first=_PAUSE) if self._worked else _PAUSE
            await asyncio.sleep(pause)

    async def _connected(self) -> None:
        settings, name = self._settings, f"runmesh {self._name}"
        async with connect(settings.servers, name=name, timeout=_CONNECT_WITHIN, **settings.login) as bus:
            await self._look(bus)
            await self._work(bus, self._make(bus))

    async def _work(self, bus: Bus, service: Service) -> None:
        endpoints = service.endpoints() if isinstance(service, Answers) else {}
        name = f"runmesh-{self._name.replace(' ', '-')}"
        async with bus.serve(name, __version__, f"Runmesh {self._name}", endpoints):
            running, looking, fatal = (
                asyncio.create_task(service.run()),
                asyncio.create_task(self._look_on(bus)),
                bus.fatal,
            )
            self._at_work, self._worked, self._waits_for, self._silent = (bus, service), True, None, None
            log.info("started", action="start", version=__version__, health_port=self.port)
            try:
                await asyncio.wait({running, fatal}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    fatal.result()
                running.result()
            finally:
                self._at_work = None
                await _cancelled(running, looking)

    # --- what it needs --------------------------------------------------------------------------

    async def _look(self, bus: Bus) -> None:
        """Ask for every consumer that is needed. Raises `NotProvisioned` or `Unreachable`.

        What workers hold has the mesh's lease: were theirs a longer one, others would take over what they run.
        """
        for stream, durable in self._needs:
            before = time()
            try:
                info = await bus.consumer_info(stream, durable)
            except NotProvisioned:
                missing = f"consumer {durable!r} of stream {stream} is missing: run `runmesh provision`"
                raise NotProvisioned(missing) from None
            except Unreachable as error:
                raise Unreachable(f"JetStream doesn't answer: {error}") from None
            if stream not in subjects.STREAM_SUBJECTS and self._settings.ack_wait > info.ack_wait:
                leases = f"{self._settings.ack_wait:g} s here, and {info.ack_wait:g} s where the mesh was provisioned"
                raise NotProvisioned(f"RUNMESH_ACK_WAIT is {leases}: make them the same, or run `runmesh provision`")
            self._compare(ahead(info.at.timestamp(), before=before, after=time()))

    async def _look_on(self, bus: Bus) -> NoReturn:
        """Look again and again: a consumer that is asked for messages can't tell silence from an empty queue."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self._look(bus)
            except RunmeshError as error:
                if not self._silent:
                    log.warning("what is needed is not there", action="look", reason=str(error))
                self._silent = error
            else:
                self._silent = None

    def _compare(self, seconds: float) -> None:
        """Say, once, that our clock is not the server's: times in facts and deadlines are off then."""
        skewed = abs(seconds) > MOST_SKEW
        if skewed and not self._skewed:
            log.warning("our clock is not the server's: deadlines will be off", action="clock", seconds_ahead=seconds)
        self._skewed = skewed

    def _wait_for(self, error: RunmeshError) -> None:
        if type(error) is not type(self._waits_for):
            log.warning("waiting", action="wait", reason=str(error))
        self._waits_for = error

    # --- why it isn't ready ---------------------------------------------------------------------

    def _hindrances(self) -> Iterator[str]:
        if self._draining:
            yield "draining"
        if self._at_work is None:
            yield str(self._waits_for or f"connecting to NATS at {self._settings.address}")
            return
        bus, service = self._at_work
        if not bus.connected:
            yield f"no connection to NATS at {self._settings.address}"
        elif self._silent:
            yield str(self._silent)
        if isinstance(service, Depends):
            yield from service.troubles()

    def _late(self) -> Iterator[str]:
        if (late := self._lag.worst) > _MOST_LAG:
            yield f"the event loop was {late:.1f} s late"


def _curable(error: Exception) -> RunmeshError | None:
    """Return what time or an operator may cure, if that is all that is wrong."""
    leaf: BaseException = error
    while isinstance(leaf, BaseExceptionGroup):
        _, incurable = leaf.split((NotProvisioned, Unreachable))
        leaf = (incurable or leaf).exceptions[0]
    return leaf if isinstance(leaf, NotProvisioned | Unreachable) else None


async def _end_of(living: asyncio.Task[None]) -> None:
    try:
        await asyncio.wait({living})
    finally:
        await _cancelled(living)
    if not living.cancelled():
        living.result()


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    """Cancel what has not ended yet, and wait until it has."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@contextmanager
def _signals(on_signal: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

"""The connection underneath: whether it is up, who must hear that it was lost, and what is fatal.

nats-py reconnects by itself and for ever. It reports a missing permission only to a callback, while the caller waits
for an answer that never comes; that callback makes it fatal here.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from runmesh.bus.reading import Received
from runmesh.bus.wire import Client
from runmesh.errors import BusError, NotPermitted, Unreachable
from runmesh.settings import without_passwords

log = logging.getLogger(__name__)

SEND_WITHIN: Final = 5.0
CLOSE_WITHIN: Final = 2.0
_ACTION: Final = {"action": "connect"}
"""What these lines are about, to the logs of a service (`logs`): others may have other loggers than ours."""
_VIOLATION: Final = re.compile(r'permissions violation for (\w+) to "([^"]+)"', re.IGNORECASE)


class Link:
    """One nats-py connection."""

    def __init__(self) -> None:
        self.client = Client()
        self.name = "a client"
        self.shown = ""
        self._servers: Sequence[str] = ()
        self._untried = 0
        self.up = asyncio.Event()
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_lost: set[Callable[[], None]] = set()
        self.on_fatal: set[Callable[[BusError, str | None], None]] = set()

    async def open(self, servers: Sequence[str], options: Mapping[str, Any], within: float) -> None:
        """Connect. Raises `Unreachable` after `within` seconds, or `NotPermitted` at once."""
        self.name, self.shown = options["name"], _shown(servers, options)
        self._servers, self._untried = servers, len(servers)
        connecting = asyncio.ensure_future(
            self.client.connect(
                servers=list(servers),
                error_cb=self._error,
                disconnected_cb=self._lost,
                reconnected_cb=self._again,
                closed_cb=self._closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # any number of seconds will do
                ping_interval=5,  # notices a peer that vanished without a word after 15 s instead of 6 min
                flush_timeout=CLOSE_WITHIN,
                **options,
            )
        )
        try:
            await asyncio.wait({connecting, self.fatal}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:  # our caller may have been cancelled
            connecting.cancel()
            await asyncio.wait({connecting}, timeout=CLOSE_WITHIN)
        if self.fatal.done():
            self.fatal.result()
        if connecting.cancelled() or not connecting.done():
            raise self._nowhere(self.client.last_error)
        try:
            connecting.result()
        except Exception as error:
            raise NotPermitted(f"the credentials of {self.name} can't be read: {error!r}") from error
        self._untried = 0
        self.up.set()

    async def close(self) -> None:
        """Send what is buffered and close, within bounds."""
        self.fatal.cancel()
        self.up.clear()
        # nats-py asserts that it has begun to connect, which it doesn't with credentials that it can't read.
        with suppress(TimeoutError, nats.errors.Error, OSError, AssertionError):
            async with asyncio.timeout(CLOSE_WITHIN):
                if self.client.is_connected:
                    await self.client.flush()
                await self.client.close()

    def fail(self, error: BusError, subject: str | None = None) -> None:
        """Make an error known that no retry cures."""
        if self.up.is_set():  # else whoever connects is told, and nobody else is there yet
            log.error("%s", error, extra=_ACTION)
        if not self.fatal.done():
            self.fatal.set_exception(error)
            self.fatal.exception()  # known, even if nobody awaits it
        for listener in tuple(self.on_fatal):
            listener(error, subject)

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send, when the connection is up. Raises `Unreachable` if it isn't within five seconds."""
        if not self.up.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_WITHIN):
                    await self.up.wait()
        try:
            if self.client.crowded:
                await self.client.relieve()
            self.client.send(subject, data, reply, headers)
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"{subject}: not sent: {error!r}") from error

    async def subscribe(
        self, subject: str, received: Callable[[Msg], Awaitable[None]], queue: str = ""
    ) -> Subscription:
        """Subscribe; nats-py renews it after every reconnect."""
        try:
            return await self.client.subscribe(subject, queue=queue, cb=received)
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"{subject}: not subscribed: {error!r}") from error

    async def listen(self, subject: str, received: Callable[[Received], None]) -> Subscription:
        """Subscribe on the shortest way: `received` is called while reading, so it must neither wait nor raise."""
        try:
            return await self.client.listen(subject, received)
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"{subject}: not subscribed: {error!r}") from error

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; what the server has sent already is still received."""
        with suppress(TimeoutError, nats.errors.Error, OSError):
            async with asyncio.timeout(CLOSE_WITHIN):
                await (subscription.drain() if self.up.is_set() else subscription.unsubscribe())  # type: ignore[no-untyped-call]

    async def _error(self, error: Exception) -> None:
        text = str(error)
        if violation := _VIOLATION.search(text):
            kind, subject = violation[1].lower(), violation[2]
            self.fail(NotPermitted(f"NATS permits {self.name} no {kind} to {subject}"), subject)
        elif isinstance(error, nats.errors.AuthorizationError) or "authorization violation" in text.lower():
            self.fail(NotPermitted(f"NATS refuses the credentials of {self.name}: {self.shown}"))
        else:
            log.debug("nats: %r", error, extra=_ACTION)
            if isinstance(error, ssl.SSLCertVerificationError):
                self._mistrust(error)

    def _mistrust(self, error: ssl.SSLCertVerificationError) -> None:
        """Give up where each server that was named has shown a certificate of somebody else's."""
        self._untried -= 1
        if not self._untried and not self.fatal.done():
            self.fatal.set_exception(self._nowhere(error))

    def _nowhere(self, error: Exception | None) -> Unreachable:
        known = without_passwords(", ".join(self._servers))
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"{error.verify_message} (RUNMESH_NATS_CA names who signs it)"
            return Unreachable(f"no NATS server at {known} whose certificate is trusted: {why}")
        hint = " (it wants a certificate of ours: RUNMESH_NATS_CERTIFICATE)" if self.client.wants_certificate else ""
        return Unreachable(f"no NATS server at {known}: {str(error or '') or 'no answer'}{hint}")

    async def _lost(self) -> None:
        if not self.up.is_set():
            return
        self.up.clear()
        log.warning("connection to NATS lost", extra=_ACTION)
        for listener in tuple(self.on_lost):
            listener()

    async def _again(self) -> None:
        log.warning("connected to NATS again", extra=_ACTION)
        self.up.set()

    async def _closed(self) -> None:
        if not self.fatal.done():
            self.fail(Unreachable(f"NATS closed the connection: {self.client.last_error}"))


def _shown(servers: Sequence[str], options: Mapping[str, Any]) -> str:
    """Say which credentials are shown to the server, without telling them."""
    match options:
        case {"user": str(user)}:
            return f"user {user!r}"
        case {"token": str()}:
            return "a token"
        case {"nkeys_seed": str(file)} | {"user_credentials": str(file)}:
            return file
    return "those in its address" if any("@" in server for server in servers) else "none"


@asynccontextmanager
async def background(link: Link, *loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless loops beside the block. One that breaks is fatal; all have ended when the block is left."""
    tasks = {asyncio.create_task(loop) for loop in loops}
    for task in tasks:
        task.add_done_callback(lambda done: _report(link, done))
    try:
        yield
    finally:
        while tasks:  # again and again: nats-py swallows a cancellation while it flushes
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.1)


def _report(link: Link, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        link.fail(error if isinstance(error, BusError) else BusError(f"a loop of the bus broke: {error!r}"))

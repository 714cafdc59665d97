"""Every message that has an answer: publishes to streams, calls of JetStream's API, requests.

One inbox and one table of futures serve thousands of callers at once. A call is sent at once, or waits until the window
has room, and rests for a moment if nobody was there to take it. The ticker, four times a second, sends the rested ones
again, and those whose answer is overdue where a second sending does no harm, and ends those whose time is up. So no
call waits for ever, and none needs a timer or a task of its own.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeVar

import nats.errors
from pydantic_core import from_json

from runmesh.bus.link import Link, background
from runmesh.bus.message import Stored
from runmesh.bus.reading import Received
from runmesh.bus.refusals import Elsewhere, Passing, refusal
from runmesh.errors import BusError, NotProvisioned, TooLarge, Unreachable

T = TypeVar("T")

WINDOW: Final = 4096
TICK: Final = 0.25
OVERDUE: Final = 3.0
_API_WITHIN: Final = 10.0
"""Seconds: a cluster may be nine without a leader, and silent (`maxElectionTimeout` in raft.go of nats-server)."""
_NOBODY: Final = "503"
_HEADER_FRAME: Final = len(b"NATS/1.0\r\n\r\n")
_MOST_HEADERS: Final = 65_536
"""The server takes no longer header block."""
_FEW: Final = 4096
_LINE_FRAME: Final = len(b": \r\n")


@dataclass(slots=True, eq=False)
class Call:
    """One message and the future of its answer.

    `patient`: when nobody is there to answer, try again (JetStream may be electing). `resend`: send again when the
    answer is lost, so it may happen twice on the server.
    """

    subject: str
    data: bytes
    headers: dict[str, str] | None
    decode: Callable[[str, Received], Any]
    future: asyncio.Future[Any]
    deadline: float
    patient: bool = True
    resend: bool = True
    sent: float = 0.0
    absent: bool = False

    def fail(self, error: BusError) -> None:
        """End the call with an error, if it has not ended."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """End the call because its time is up."""
        if self.absent and not self.subject.startswith("$JS."):
            self.fail(NotProvisioned(f"no stream takes {self.subject}"))
        else:
            self.fail(Unreachable(f"{self.subject}: no answer in time"))


class Exchange:
    """Sends calls in their order and gives every answer to its future."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._inbox = link.client.new_inbox()
        self._number = 0
        self._waiting: deque[Call] = deque()
        self._in_flight: dict[int, Call] = {}
        self._resting: list[Call] = []
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve calls for the length of the block; those without an answer at its end are `Unreachable`."""
        await self._link.listen(f"{self._inbox}.*", self._answered)
        self._link.on_lost.add(self._lost)
        self._link.on_fatal.add(self._failed)
        try:
            async with background(self._link, self._write(), self._tick()):
                yield
        finally:
            for call in self._calls():
                call.fail(Unreachable(f"{call.subject}: the connection was closed"))

    def call(
        self,
        subject: str,
        data: bytes,
        decode: Callable[[str, Received], T],
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 10.0,
        patient: bool = True,
        resend: bool = True,
    ) -> "asyncio.Future[T]":
        """Send when the window has room, in the order of calls; `decode` makes the result, or raises.

        The future raises `TooLarge`, `NotProvisioned`, `NotPermitted`, `Unreachable`, and what `decode` raises.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        limit = self._link.client.max_payload
        # Counted only where it can matter: this is the hottest path there is.
        if len(data) + _MOST_HEADERS > limit or (headers and sum(map(len, headers.values())) > _FEW):
            size = len(data) + header_size(headers)
            if size > limit:
                future.set_exception(TooLarge(subject, size, limit))
                return future
        call = Call(subject, data, headers, decode, future, monotonic() + timeout, patient, resend)
        if not self._waiting and self._has_room() and not self._link.client.crowded:
            self._send(call)
        else:
            self._waiting.append(call)
            self._wake.set()
        return future

    async def api(self, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's API: idempotent ones only, since it may be sent twice."""
        data = json.dumps(body).encode() if body else b""
        return await self.call(f"$JS.API.{name}", data, decode_json, timeout=_API_WITHIN)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await self._link.up.wait()
            while self._waiting and self._has_room():
                if self._link.client.crowded:
                    await self._link.client.relieve()
                self._send(self._waiting.popleft())
            if self._link.up.is_set():
                self._wake.clear()

    def _has_room(self) -> bool:
        return len(self._in_flight) < WINDOW and self._link.up.is_set()

    def _send(self, call: Call) -> None:
        if call.future.done():  # its caller gave up
            return
        self._number += 1
        self._in_flight[self._number] = call
        call.sent = monotonic()
        try:
            self._link.client.send(call.subject, call.data, f"{self._inbox}.{self._number}", call.headers)
        except (nats.errors.Error, OSError) as error:
            del self._in_flight[self._number]
            call.fail(Unreachable(f"{call.subject}: not sent: {error!r}"))

    def _answered(self, msg: Received) -> None:
        number = int(msg.subject[len(self._inbox) + 1 :])
        call = self._in_flight.pop(number, None)
        if self._waiting:
            self._wake.set()
        if call is None or call.future.done():
            return
        if not msg.data and msg.headers and msg.headers.get("Status") == _NOBODY:
            self._nobody(call)
            return
        try:
            call.future.set_result(call.decode(call.subject, msg))
        except Passing:
            self._resting.append(call)
        except Elsewhere:
            self._in_flight[number] = call
        except BusError as error:
            # The traceback leads to the call and so back to the error: a circle, where many answers are refusals.
            call.future.set_exception(error.with_traceback(None))
        except (ValueError, LookupError, TypeError) as error:
            call.future.set_exception(BusError(f"{call.subject}: an answer that makes no sense: {error!r}"))

    def _nobody(self, call: Call) -> None:
        call.absent = True
        if call.patient:
            self._resting.append(call)
        else:
            call.fail(Unreachable(f"nobody answers {call.subject}"))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            if any(call.deadline <= now for call in self._calls()):
                self._expire(now)
            overdue = [n for n, call in self._in_flight.items() if call.resend and call.sent + OVERDUE <= now]
            self._again([*(self._in_flight.pop(number) for number in overdue), *self._resting])
            self._resting.clear()

    def _expire(self, now: float) -> None:
        for call in self._calls():
            if call.deadline <= now:
                call.expire()
        self._waiting = deque(call for call in self._waiting if not call.future.done())
        self._in_flight = {number: call for number, call in self._in_flight.items() if not call.future.done()}
        self._resting = [call for call in self._resting if not call.future.done()]

    def _lost(self) -> None:
        calls, self._in_flight = list(self._in_flight.values()), {}
        for call in calls:
            if not call.resend:
                call.fail(Unreachable(f"{call.subject}: the connection was lost before the answer"))
        self._again([call for call in calls if call.resend])

    def _again(self, calls: Iterable[Call]) -> None:
        self._waiting.extendleft(reversed([call for call in calls if not call.future.done()]))
        if self._waiting:
            self._wake.set()

    def _failed(self, error: BusError, subject: str | None) -> None:
        for call in self._calls():
            if subject is None or call.subject == subject:
                call.fail(error)

    def _calls(self) -> list[Call]:
        return [*self._in_flight.values(), *self._waiting, *self._resting]


def header_size(headers: Mapping[str, str] | None) -> int:
    """Count the bytes of headers on the wire: the server's payload limit includes them."""
    if not headers:
        return 0
    return _HEADER_FRAME + sum(len(name) + len(value.encode()) + _LINE_FRAME for name, value in headers.items())


def decode_json(subject: str, msg: Received) -> dict[str, Any]:
    """Read an answer of JetStream's API. Raises what its error means."""
    answer: dict[str, Any] = from_json(msg.data)
    if error := answer.get("error"):
        raise refusal(subject, error)
    return answer


def decode_stored(subject: str, msg: Received) -> Stored:
    """Read the confirmation of a publish."""
    answer = decode_json(subject, msg)
    return Stored(answer["stream"], answer["seq"], answer.get("duplicate", False))


def decode_revision(subject: str, msg: Received) -> int:
    """Read the confirmation of a write to a bucket."""
    revision: int = decode_json(subject, msg)["seq"]
    return revision

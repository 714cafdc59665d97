"""What travels on the bus, as plain values: messages, confirmations, entries of a bucket."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol, TypeVar, overload

T = TypeVar("T")

NEVER: Final = datetime.fromtimestamp(0, UTC)


class Stored(NamedTuple):
    """The server's word that a message is stored; `duplicate` says that its id was stored before."""

    stream: str
    sequence: int
    duplicate: bool


class Entry(NamedTuple):
    """One key of a bucket. `revision` is what a compare-and-swap expects."""

    key: str
    value: bytes
    revision: int
    at: datetime


class Deleted(NamedTuple):
    """A key that a watch saw vanish."""

    key: str


class StreamInfo(NamedTuple):
    """How much a stream holds: messages, bytes, and the first and last sequence."""

    messages: int
    bytes: int
    first: int
    last: int


class ConsumerInfo(NamedTuple):
    """How far a durable consumer is: not delivered yet, and delivered but not acknowledged; by the server's clock.

    `ack_wait`, in seconds, is after how long it delivers again.
    """

    pending: int
    ack_pending: int
    at: datetime
    ack_wait: float


class Headers(Mapping[str, str]):
    """Headers as they were written, found whatever their case: servers and libraries disagree on it."""

    __slots__ = ("_exact",)

    def __init__(self, exact: Mapping[str, str] | None = None) -> None:
        self._exact = exact or {}

    def __getitem__(self, name: str) -> str:
        if (value := self._find(name)) is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...
    def get(self, name: str, /, default: str | T | None = None) -> str | T | None:
        """Return a header, or the default: `Mapping` would find out by an exception, and most are missing."""
        return default if (value := self._find(name)) is None else value

    def _find(self, name: str) -> str | None:
        if not self._exact:
            return None
        if (value := self._exact.get(name)) is not None:
            return value
        folded = name.lower()
        return next((value for key, value in self._exact.items() if key.lower() == folded), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._exact)

    def __len__(self) -> int:
        return len(self._exact)

    def __repr__(self) -> str:
        return f"Headers({dict(self._exact)!r})"


class Delivery(Protocol):
    """One delivery of a message: its number, how many are still to come, and how to answer the server."""

    nth: int
    pending: int

    async def answer(self, verdict: bytes, *, confirmed: bool = False) -> None:
        """Send a verdict; `confirmed` waits for the server's answer."""

    def release(self) -> None:
        """Give the slot back."""


@dataclass(slots=True, eq=False)
class Message:
    """One message. What a `Pump` delivers holds one of its slots until `ack`, `nak`, `term` or `release`.

    `sequence` and `deliveries` are 0 and 1 for what no stream has stored (a request). `at` is when it was stored.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int = 0
    deliveries: int = 1
    at: datetime = NEVER
    delivery: Delivery | None = field(default=None, repr=False)

    async def ack(self, *, confirmed: bool = False) -> None:
        """Acknowledge. `confirmed` waits until the server has noted it; raises `Unreachable` if it doesn't say so."""
        await self._answer(b"+ACK", confirmed=confirmed)

    async def nak(self, delay: float | None = None) -> None:
        """Hand the message back, to be delivered again at once or in `delay` seconds."""
        await self._answer(b'-NAK {"delay": %d}' % int(delay * 1e9) if delay else b"-NAK")

    async def term(self, reason: str) -> None:
        """Say that the message must never be delivered again, and why."""
        await self._answer(b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        """Start the ack wait anew. Keeps the slot."""
        if self.delivery is not None:
            await self.delivery.answer(b"+WPI")

    def release(self) -> None:
        """Give the slot back without answering the server. Calling it again does nothing."""
        if self.delivery is not None:
            self.delivery.release()

    async def _answer(self, verdict: bytes, *, confirmed: bool = False) -> None:
        try:
            if self.delivery is not None:
                await self.delivery.answer(verdict, confirmed=confirmed)
        finally:
            self.release()


Handler = Callable[[Message], Awaitable[bytes]]

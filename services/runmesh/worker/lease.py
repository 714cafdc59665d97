"""The lease: how long this worker may act, counted from its last confirmed beat.

Others take over a worker's tasks once its record in `workers` is gone, a whole `ack_wait` after the last
beat. The worker itself stops a quarter earlier: whoever can't know that it is still alive behaves as dead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Final, NoReturn, TypeVar

from runmesh.clock import clock
from runmesh.errors import RunmeshError, StreamFull, Unreachable

T = TypeVar("T")

SHARE: Final = 0.75
"""The part of `ack_wait` for which a confirmed beat lets a worker act."""


class LeaseLost(RunmeshError):
    """The worker could not confirm in time that it is alive: it dropped all it held. Start a new one."""


class Lease:
    """What must be checked before every platform call and every write of a claim."""

    def __init__(self, ack_wait: float) -> None:
        self._length = ack_wait * SHARE
        self._until = clock() + self._length

    def restart(self) -> None:
        """Count from now: nothing is held yet."""
        self._until = clock() + self._length

    def renew(self, sent_at: float) -> None:
        """Note a confirmed beat, sent at `sent_at` (of `clock`). A lease that has ended stays ended."""
        self.check()
        self._until = max(self._until, sent_at + self._length)

    def remaining(self) -> float:
        """Return for how many seconds the worker may still act."""
        return self._until - clock()

    def check(self) -> None:
        """Raise `LeaseLost` if the worker may act no more."""
        if self.remaining() <= 0:
            raise LeaseLost(f"no confirmed beat within {self._length:g} s")

    async def lost(self) -> NoReturn:
        """Wait until the lease is lost, then raise `LeaseLost`."""
        while True:
            self.check()
            await asyncio.sleep(self.remaining())

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call to NATS that may be repeated, until it is answered or the lease is lost."""
        while True:
            self.check()
            try:
                return await call()
            except (Unreachable, StreamFull):
                await asyncio.sleep(uniform(0.05, 0.5))  # noqa: S311 - spreads load, guards nothing

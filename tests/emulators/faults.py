"""What goes wrong on request: refusals, lost answers, slow answers, for so many calls of an operation."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

A = TypeVar("A")


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It is used up after so many calls."""

    operation: str
    """`*` stands for anything."""
    times: int = 1
    refusal: Exception | None = None
    """What is raised instead of doing what was asked for, in the platform's own words."""
    answer: Any = None
    """An answer instead of what was asked for."""
    lost: bool = False
    """It is done, and then the connection is cut instead of an answer."""
    delay: float = 0.0
    """Seconds before anything happens."""

    def fits(self, operation: str) -> bool:
        """Whether a call gets into this trouble."""
        return self.times > 0 and fnmatchcase(operation, self.operation)


class Faults(list[Fault]):
    """All trouble that is to come; the first that fits a call is what happens to it."""

    async def around(self, operation: str, answer: Callable[[], Awaitable[A]], cut: Callable[[], object]) -> A:
        """Answer a call, or don't; `cut` is how its answer gets lost. Raises the refusal."""
        fault = next((fault for fault in self if fault.fits(operation)), None)
        if fault is None:
            return await answer()
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.refusal:
            raise fault.refusal
        given: A = await answer() if fault.answer is None else fault.answer
        if fault.lost:
            cut()
        return given


def abort(transport: asyncio.WriteTransport | None) -> None:
    """Cut a connection without a word."""
    if transport:
        transport.abort()

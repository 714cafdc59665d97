"""What goes wrong on request: refusals, lost answers, slow answers, for so many calls of a method."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc


class GoogleError(Exception):
    """A refusal, as Google words it; the code is gRPC's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = grpc.StatusCode[code], message


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It is used up after so many calls."""

    method: str
    times: int = 1
    code: str = ""
    """The refusal, instead of what was asked for; empty: it is done as asked."""
    message: str = "injected"
    lost: bool = False
    """It is done, and then the connection breaks instead of an answer."""
    delay: float = 0.0


class Faults(list[Fault]):
    """All trouble that is to come; the first that fits a call is what happens to it."""

    async def around(self, method: str, answer: Callable[[], Awaitable[Any]]) -> Any:
        """Answer a call, or don't."""
        fault = next((fault for fault in self if fault.times > 0 and fault.method in (method, "*")), None)
        if fault is None:
            return await answer()
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.code:
            raise GoogleError(fault.code, fault.message)
        given = await answer()
        if fault.lost:
            raise GoogleError("UNAVAILABLE", "Socket closed")
        return given

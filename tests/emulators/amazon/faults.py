"""What goes wrong on request: refusals, failures, lost answers, slow answers, for so many calls of an operation."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


class AwsError(Exception):
    """A refusal, as AWS words it."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.more = code, message, status, more


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It is used up after so many calls."""

    operation: str
    times: int = 1
    code: str = ""
    """The refusal, instead of what was asked for; empty: it is done as asked."""
    message: str = "injected"
    status: int = 400
    answer: Mapping[str, Any] = field(default_factory=dict)
    """An answer instead of what was asked for."""
    lost: bool = False
    """It is done, and then the connection is cut instead of an answer."""
    delay: float = 0.0


class Faults(list[Fault]):
    """All trouble that is to come; the first that fits a call is what happens to it."""

    async def around(
        self, request: web.Request, operation: str, answer: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Mapping[str, Any]:
        """Answer a call, or don't."""
        fault = next((fault for fault in self if fault.times > 0 and fault.operation in (operation, "*")), None)
        if fault is None:
            return await answer()
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.code:
            raise AwsError(fault.code, fault.message, fault.status)
        if fault.answer:
            return fault.answer
        given = await answer()
        if fault.lost and request.transport:
            request.transport.abort()
        return given

"""What goes wrong on request: refusals, failures, lost answers, slow answers, for so many calls of an operation."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


class ArmError(Exception):
    """A refusal, as Azure words it."""

    def __init__(self, code: str, message: str, status: int = 400, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after

    @property
    def answer(self) -> web.Response:
        """The answer that says so."""
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        told = {"error": {"code": self.code, "message": self.message}}
        return web.json_response(told, status=self.status, headers=headers)


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It is used up after so many calls."""

    operation: str
    times: int = 1
    code: str = ""
    """The refusal, instead of what was asked for; empty: it is done as asked."""
    message: str = "injected"
    status: int = 400
    retry_after: str | None = None
    lost: bool = False
    """It is done, and then the connection is cut instead of an answer."""
    delay: float = 0.0


class Faults(list[Fault]):
    """All trouble that is to come; the first that fits a call is what happens to it."""

    async def around(
        self, request: web.Request, operation: str, answer: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        """Answer a call, or don't."""
        fault = next((fault for fault in self if fault.times > 0 and fault.operation == operation), None)
        if fault is None:
            return await answer()
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.code:
            raise ArmError(fault.code, fault.message, fault.status, fault.retry_after)
        given = await answer()
        if fault.lost and request.transport:
            request.transport.abort()
        return given

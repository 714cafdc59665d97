"""What goes wrong on request: refusals, lost answers, slow answers, for so many calls of a kind."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from tests.emulators.kubernetes.status import Status


@dataclass(slots=True)
class Fault:
    """One kind of trouble. It is used up after so many calls that it fits."""

    verb: str
    resource: str
    times: int = 1
    code: int = 0
    """The answer's status, instead of what was asked for; 0: it is done as asked."""
    message: str = "injected"
    reason: str | None = None
    """The refusal's reason, where the code has several."""
    retry_after: int | None = None
    lost: bool = False
    """It is done, and then the connection is cut instead of an answer."""
    delay: float = 0.0
    """Seconds before anything happens."""

    def fits(self, verb: str, resource: str) -> bool:
        """Whether a call gets into this trouble."""
        return self.times > 0 and self.verb in (verb, "*") and self.resource in (resource, "*")


class Faults(list[Fault]):
    """All trouble that is to come; the first that fits a call is what happens to it."""

    async def around(
        self,
        request: web.Request,
        call: tuple[str, str],
        answer: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Answer a call, or don't."""
        fault = next((fault for fault in self if fault.fits(*call)), None)
        if fault is None:
            return await answer()
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.code:
            raise Status(fault.code, fault.message, reason=fault.reason, retry_after=fault.retry_after)
        response = await answer()
        if fault.lost and request.transport:
            request.transport.abort()
        return response

"""What a region offers, in its own words, asked for once in a process; again after a while, where that was not told."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.clock import clock
from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.azure.arm import Arm

log = structlog.get_logger(__name__)

_AGAIN: Final = 60.0
"""Seconds until a region is asked again."""


class Regions:
    """The regions that tasks are in."""

    def __init__(self, arm: "Arm", within: float) -> None:
        self._arm, self._within = arm, within
        self._said: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._ask_again: dict[tuple[str, str], float] = {}
        self._asking = asyncio.Lock()

    async def capabilities(self, place: Place, location: str) -> list[dict[str, Any]]:
        """Return what a region offers; nothing where it can't be had: then Azure itself decides, at the creation."""
        where = place.subscription, location.replace(" ", "").lower()
        async with self._asking:
            if where not in self._said and clock() >= self._ask_again.get(where, 0.0):
                await self._try(where)
        return self._said.get(where, [])

    async def _try(self, where: tuple[str, str]) -> None:
        try:
            async with asyncio.timeout(self._within):
                self._said[where] = await self._ask(*where)
        except (Refused, ConnectionError, TimeoutError) as error:
            log.info("capabilities not read", action="submit", location=where[1], error=repr(error))
            self._ask_again[where] = clock() + _AGAIN

    async def _ask(self, subscription: str, location: str) -> list[dict[str, Any]]:
        provider = f"/subscriptions/{subscription}/providers/Microsoft.ContainerInstance"
        return [each async for each in self._arm.pages(f"{provider}/locations/{location}/capabilities")]

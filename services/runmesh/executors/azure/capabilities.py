"""What a region offers, in its own words, asked for once in a process."""

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.refusals import Refused

if TYPE_CHECKING:
    from runmesh.executors.azure.arm import Arm

log = structlog.get_logger(__name__)


class Regions:
    """The regions that tasks are in."""

    def __init__(self, arm: "Arm") -> None:
        self._arm = arm
        self._said: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._asking = asyncio.Lock()

    async def capabilities(self, place: Place, location: str) -> list[dict[str, Any]]:
        """Return what a region offers; nothing where it can't be had: then Azure itself decides, at the creation."""
        where = place.subscription, location.replace(" ", "").lower()
        async with self._asking:
            if where not in self._said:
                try:
                    self._said[where] = await self._ask(*where)
                except ConnectionError:
                    return []
                except Refused as refused:
                    log.info("capabilities not read", location=location, error=str(refused))
                    if refused.passing:
                        return []
                    self._said[where] = []
        return self._said[where]

    async def _ask(self, subscription: str, location: str) -> list[dict[str, Any]]:
        provider = f"/subscriptions/{subscription}/providers/Microsoft.ContainerInstance"
        return [each async for each in self._arm.pages(f"{provider}/locations/{location}/capabilities")]

"""What a region offers, in its own words, asked for once in a process."""

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

    async def capabilities(self, place: Place, location: str) -> list[dict[str, Any]]:
        """Return what a region offers; nothing where it can't be had: then Azure itself decides, at the creation."""
        where = place.subscription, location.replace(" ", "").lower()
        if where not in self._said:
            provider = f"/subscriptions/{where[0]}/providers/Microsoft.ContainerInstance"
            try:
                path = f"{provider}/locations/{where[1]}/capabilities"
                self._said[where] = [each async for each in self._arm.pages(path)]
            except Refused as refused:
                if refused.passing:
                    return []
                log.info("capabilities not read", location=location, error=str(refused))
                self._said[where] = []
            except ConnectionError:
                return []
        return self._said[where]

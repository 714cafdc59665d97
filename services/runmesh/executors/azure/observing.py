"""What becomes of groups: one listing for all of a resource group, and a look at those of which it can't tell.

A listing says which groups are there, and how far they are deployed; what their containers do only the group itself
says. So a look is spent on a group when its listing has changed, or when it is due (`known`), and so many a second in
all. What isn't listed is gone only when a look says so too.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.clock import clock
from runmesh.errors import Unavailable
from runmesh.executor import UNKNOWN, Handle, Observation, Phase
from runmesh.executors.azure import naming
from runmesh.executors.azure.known import Entry, Known
from runmesh.executors.azure.logs import Logs
from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.options import Options
from runmesh.executors.azure.refusals import Refused
from runmesh.executors.azure.verdict import observed, provisioning

if TYPE_CHECKING:
    from runmesh.executors.azure.arm import Arm

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 16
_TAIL_TRIES: Final = 3
_GROUPS_A_SECOND: Final = 200.0
"""How many groups' listings are read a second: each is some kilobytes of JSON."""
_LONGEST_ROUND: Final = 10.0
"""Seconds whose looks one round may spend."""
_LISTING: Final = 5
"""Intervals that listings may take together: looks go on without them."""
_LONGEST_LOOKS: Final = 15.0
"""Seconds that they may take: last lines wait for their turn."""


class Observing:
    """Answers for the groups of one worker."""

    def __init__(self, arm: "Arm", known: Known, logs: Logs, options: Options) -> None:
        self._arm, self._known, self._logs, self._options = arm, known, logs, options
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._list_at: dict[Place, float] = {}
        self._looked_at = clock()

    async def observe(self, handles: Collection[Handle]) -> dict[Handle, Observation]:
        """Return what is known by now of every handle. Raises `Unavailable` where Azure throttles."""
        await self._list_all({place: own for place, own in _by_place(handles).items() if self._known.asked(own)})
        await self._look_at(list(islice(self._known.due(handles), self._budget())))
        return {handle: self._seen(handle) for handle in handles}

    async def look(self, handle: Handle) -> Observation:
        """Look at one group now. Raises `Refused`, ConnectionError."""
        if (entry := self._known.get(handle)) is None:  # removed meanwhile
            return UNKNOWN
        entry.look()
        group = await get(self._arm, handle)
        url = naming.url(handle, self._options.endpoint)
        if group is None or entry.deleting or observed(group).phase is not Phase.FAILED:
            return entry.told(group, url)
        tail = await self._tail(handle, entry)
        if tail is None:
            entry.soon()
            return UNKNOWN
        return entry.told(group, url, tail)

    async def _look_at(self, handles: Collection[Handle]) -> None:
        """Look at groups, as far as one round goes. Raises `Unavailable` where Azure throttles."""
        with suppress(TimeoutError):  # what is left stays due
            async with asyncio.timeout(_LONGEST_LOOKS):
                troubles = await asyncio.gather(*map(self._looked, handles))
                if trouble := next(filter(None, troubles), None):
                    raise trouble

    def _seen(self, handle: Handle) -> Observation:
        entry = self._known.get(handle)
        return entry.seen if entry else UNKNOWN

    def _budget(self) -> int:
        """Return how many looks this round may spend: what the rate allows since the last one."""
        now = clock()
        spent, self._looked_at = min(_LONGEST_ROUND, now - self._looked_at), now
        return max(1, round(spent * self._options.reads))

    async def _looked(self, handle: Handle) -> Unavailable | None:
        """Look at a group; return what is in the way of all looks."""
        async with self._room:
            try:
                await self.look(handle)
            except Refused as refused:
                if refused.throttled:
                    return Unavailable(str(refused), refused.retry_after)
                log.warning("group not observed", action="observe", group=handle, error=str(refused))
            except ConnectionError as error:
                log.warning("group not observed", action="observe", group=handle, error=str(error))
        return None

    async def _list_all(self, places: Mapping[Place, Iterable[Handle]]) -> None:
        """Take in what resource groups hold, as far as that can be had. Raises `Unavailable` where Azure throttles."""
        try:
            async with asyncio.timeout(_LISTING * self._options.poll):
                for place, handles in places.items():
                    await self._list(place, handles)
        except TimeoutError:
            log.warning("groups not listed in time", action="observe", places=len(places))

    async def _list(self, place: Place, handles: Iterable[Handle]) -> None:
        """Take in what a resource group holds, if that is due. Raises `Unavailable` where Azure throttles."""
        if clock() < self._list_at.get(place, 0.0):
            return
        try:
            listed = {each["name"]: provisioning(each) async for each in self._arm.pages(place.groups)}
        except Refused as refused:
            if refused.throttled:
                raise Unavailable(str(refused), refused.retry_after) from refused
            log.warning("groups not listed", action="observe", place=place.path, error=str(refused))
            return
        except ConnectionError as error:
            log.warning("groups not listed", action="observe", place=place.path, error=str(error))
            return
        self._list_at[place] = clock() + len(listed) / _GROUPS_A_SECOND
        for handle in handles:
            if entry := self._known.get(handle):
                entry.listed(listed.get(handle.rpartition("/")[2]))

    async def _tail(self, handle: Handle, entry: Entry) -> tuple[str, ...] | None:
        """Return the last lines; nothing if they can't be had; None: not yet, but maybe the next time."""
        entry.tail_tries += 1
        try:
            return await self._logs.tail(handle)
        except Refused as refused:
            later = refused.passing
        except ConnectionError:
            later = True
        return None if later and entry.tail_tries < _TAIL_TRIES else ()


async def get(arm: "Arm", handle: Handle) -> dict[str, Any] | None:
    """Ask for one group; None: there is none. Raises `Refused`, ConnectionError."""
    try:
        return await arm.read(handle)
    except Refused as refused:
        if refused.missing or refused.nowhere:
            return None
        raise


def _by_place(handles: Iterable[Handle]) -> dict[Place, list[Handle]]:
    found: dict[Place, list[Handle]] = {}
    for handle in handles:
        found.setdefault(Place.of(handle), []).append(handle)
    return found

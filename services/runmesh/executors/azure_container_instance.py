"""Azure Container Instances: each task is a container group, which outlives its worker and is found again by its name.

A group's name follows from the task's key. Creating a group that is there already would restart its container, and so
run the user's code again: a submission looks first, and creates only what is not there; nobody creates after an answer
that was lost before it has looked again. Groups are observed together (`azure/observing.py`). A group is stopped,
and in the end removed, by deleting it, which takes a while: it is gone when Azure says that it doesn't know it. What is
asked for (`azure/group.py`) and what an answer means (`azure/verdict.py`) is pure. The SDK is imported on entering.

A handle is the group's resource id.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, Self
from weakref import WeakValueDictionary

import structlog

from runmesh.errors import Invalid, Problem, Rejected, Unavailable
from runmesh.executor import GONE, Handle, LogLine, Observation, Position, Site, Task
from runmesh.executors.azure import naming
from runmesh.executors.azure.capabilities import Regions
from runmesh.executors.azure.config import Config
from runmesh.executors.azure.group import container_group, location, os_type, place
from runmesh.executors.azure.inherit import Base, Bases
from runmesh.executors.azure.known import GONE_WINDOW, Known
from runmesh.executors.azure.logs import Logs
from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.observing import Observing, get
from runmesh.executors.azure.options import Options
from runmesh.executors.azure.refusals import Refused, Unreached
from runmesh.executors.azure.sizes import wrong_size
from runmesh.executors.azure.verdict import ended
from runmesh.platforms.shapes import said

__all__ = ["Config", "Executor"]

log = structlog.get_logger(__name__)

_LOOK_FIRST: Final = 0.5
"""How long a submission may take beside the creation itself, as a share of that."""
_ASIDE: Final = 0.1
"""How long it may wait for what is good to know, likewise."""


class Executor:
    """The container groups of one worker."""

    batch: ClassVar[int] = 50_000
    """All at once: one listing tells of all."""
    gone_window: ClassVar[float] = GONE_WINDOW
    adoptable: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self._site = site
        self._options = Options.of(site.environment)

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks."""
        return self._options.poll

    @property
    def find_window(self) -> float:
        """By then, a creation that was under way when its worker died has come to something."""
        return 1.25 * (1 + _LOOK_FIRST) * self._options.create

    async def __aenter__(self) -> Self:
        try:
            from runmesh.executors.azure.arm import Arm  # noqa: PLC0415 - the SDK, which only workers need
        except ModuleNotFoundError as error:
            problem = Problem(
                "azure_container_instance", f"{error.name} is not installed", "pip install 'runmesh[azure]'"
            )
            raise Invalid(problem) from error
        options = self._options
        self._stack = AsyncExitStack()
        self._arm = await self._stack.enter_async_context(Arm.open(options, self._site.environment))
        self._known = Known()
        self._bases, self._regions = Bases(self._arm), Regions(self._arm, _ASIDE * options.create)
        self._logs = Logs(self._arm, self._known, options.poll)
        self._observing = Observing(self._arm, self._known, self._logs, options)
        self._places = set(options.places)
        self._creating: WeakValueDictionary[Handle, asyncio.Lock] = WeakValueDictionary()
        await self._stack.enter_async_context(self._logs.turns.given(options.log_reads))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    # --- the contract -------------------------------------------------------------------------------

    async def submit(self, task: Task[Config]) -> Handle:
        """Create the task's group, or adopt the one of this name."""
        where = self._place(task)
        handle = where.handle(naming.group_name(task, self._site.mesh))
        lock = self._creating.setdefault(handle, asyncio.Lock())
        async with lock:
            if not ((entry := self._known.get(handle)) and entry.seen != GONE):
                await self._adopt_or_create(task, where, handle)
        return handle

    async def find(self, task: Task[Config]) -> Handle | None:
        """Look for the group of this name."""
        handle = self._place(task).handle(naming.group_name(task, self._site.mesh))
        found = await get(self._arm, handle)
        return handle if found and self._is_of(task, found) else None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Say what the listings and the looks have told."""
        self._places.update(map(Place.of, handles))
        return await self._observing.observe(handles)

    async def cancel(self, handle: Handle) -> None:
        """Delete a group whose container has not ended."""
        entry = self._known.add(handle)
        if entry.is_over:
            return
        found = await get(self._arm, handle)
        if found is None or (ended(found) and not entry.deleting):
            entry.soon()
            return
        await self._delete(handle)
        entry.deleted()

    async def remove(self, handle: Handle) -> None:
        """Delete a group, unless that was begun; Azure takes some seconds, and nobody waits for that."""
        if not ((entry := self._known.get(handle)) and entry.deleting):
            await self._delete(handle)
        self._known.forget(handle)

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield all groups of our pool, in every resource group that we had to do with."""
        for where in sorted(self._places):
            try:
                async for found in self._arm.pages(where.groups):
                    if key := naming.key_of(found, mesh=self._site.mesh, pool=self._site.pool):
                        yield key, where.handle(found["name"])
            except (Refused, ConnectionError) as error:  # which hides no other place
                log.warning("groups not listed", action="list", place=where.path, error=str(error))

    # --- an optional power --------------------------------------------------------------------------

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Follow a container's output."""
        async for line in self._logs.follow(handle, since, self._observing.look):
            yield line

    # --- parts --------------------------------------------------------------------------------------

    def _place(self, task: Task[Config]) -> Place:
        where = place(task.config, self._options)
        self._places.add(where)
        return where

    async def _adopt_or_create(self, task: Task[Config], where: Place, handle: Handle) -> None:
        try:
            async with asyncio.timeout(_LOOK_FIRST * self._options.create):
                body = await self._body(task, where)
                is_there = await self._is_there(task, handle)
        except TimeoutError as error:  # nothing was asked for yet
            raise Unavailable("Azure doesn't say in time what there is") from error
        if not is_there:
            await self._create(handle, body)
            self._known.add(handle).created()
        self._known.add(handle)

    async def _is_there(self, task: Task[Config], handle: Handle) -> bool:
        """Say whether a task's group is there. Raises `Rejected` if another's is, and `Unavailable`."""
        try:
            found = await self._arm.read(handle)
        except Refused as refused:
            if refused.missing:
                return False
            later = Unavailable(str(refused), refused.retry_after)
            raise later if refused.passing else refused.of_submit() from refused
        except ConnectionError as error:  # nothing was asked for yet
            raise Unavailable(str(error)) from error
        if not self._is_of(task, found):
            raise Rejected(f"there is a container group of this name already, and it is not this task's: {handle}")
        return True

    async def _create(self, handle: Handle, body: dict[str, Any]) -> None:
        try:
            await self._arm.call("PUT", handle, body=body)
        except Unreached as error:
            raise Unavailable(str(error)) from error
        except Refused as refused:
            raise refused.of_submit() from refused

    async def _body(self, task: Task[Config], where: Place) -> dict[str, Any]:
        """Return what is to be created. Raises `Rejected`, and `Unavailable` while it can't be said."""
        base = await self._bases.get(where, task.config.container_group_name or self._options.container_group)
        key = self._options.storage_key
        body = container_group(task, base, mesh=self._site.mesh, pool=self._site.pool, storage_key=key)
        await self._check_size(task.config, base, where)
        return body

    async def _check_size(self, config: Config, base: Base, where: Place) -> None:
        region = location(config, base)
        offered = await self._regions.capabilities(where, region)
        gpu = said(config.gpu) if config.gpu else None
        if wrong := wrong_size(offered, os_type(config, base), config.cpu, config.memory, gpu):
            raise Rejected(f"{region} doesn't offer it: {wrong}")

    async def _delete(self, handle: Handle) -> None:
        try:
            await self._arm.call("DELETE", handle)
        except Refused as refused:
            if not (refused.missing or refused.nowhere):
                raise

    def _is_of(self, task: Task[Config], found: Mapping[str, Any]) -> bool:
        return naming.is_of(found, task, mesh=self._site.mesh, pool=self._site.pool)

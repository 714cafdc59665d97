"""The gate before pipelines whose runs are limited in number: the same for any number of resolvers.

One small document per pipeline says which runs have a place, and changes only by compare-and-swap. A run that has none
waits as a key of its own; keys have an age, so the oldest goes first and a newcomer never overtakes. Nothing that is
free is overlooked: a run notes that it waits before it looks for a place, and one that leaves looks for who waits after
its place is free.

Every step may be taken again. A resolver that dies leaves a run that has a place and doesn't know it, which asks again
when the sweep comes by, or the place of a run that has ended, which the sweep frees.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final
from weakref import WeakValueDictionary

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.errors import BusError, Conflict
from runmesh.resolver.happened import Admitted, NoRoom
from runmesh.resolver.places import Asking, Places, asking
from runmesh.resolver.plan import Plan
from runmesh.resolver.store import Store

_SWAPS: Final = 50


class Gate:
    """Gives out the places of all limited pipelines; `wake` is called with a run that got one while it waited."""

    def __init__(self, bus: Bus, wake: Callable[[str], None]) -> None:
        self._runs, self._store, self._wake = bus.bucket(subjects.RUNS), Store(bus), wake
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One per pipeline: the lanes of one resolver don't race each other."""

    async def enter(self, plan: Plan) -> Admitted | NoRoom:
        """Ask for a run's place, for the first time or again."""
        pipeline, asks = subjects.pipeline_key(plan.project, plan.pipeline), asking(plan)
        new = await self._queue(pipeline, asks)
        places, _ = await self._load(pipeline)
        renews = new and places.limited(asks) != places
        if plan.run not in places.held and (renews or not places.refusal(asks)):
            places = await self._promote(pipeline, asks, awake=plan.run, renews=renews)
        if plan.run in places.held:
            await self._runs.drop(subjects.waiting(pipeline, plan.run))
            return Admitted()
        return NoRoom(places.refusal(asks) or "older runs of this pipeline go first")

    async def leave(self, plan: Plan, *, waits: bool = False) -> None:
        """Give back the place of a run that has ended, and its wish for one if it still waited as far as it knew."""
        pipeline = subjects.pipeline_key(plan.project, plan.pipeline)
        if waits:
            await self._runs.drop(subjects.waiting(pipeline, plan.run))
        await self._free(pipeline, asking(plan))

    async def sweep(self) -> None:
        """Free the places of runs that ended while nobody could; forget pipelines of which nothing runs."""
        # A run is active before it gets a place: places must be read first.
        found = await self._runs.entries(subjects.limit("*"))
        active = await self._store.active() if found else set()
        for entry in found:
            held = Places.decode(entry.value).held
            for run in held.keys() - active:
                if not await self._store.is_active(run):
                    await self._free(entry.key.removeprefix(subjects.limit("")), Asking(run=run, trigger=held[run]))
            if not held:
                with suppress(Conflict):
                    await self._runs.delete(entry.key, entry.revision)

    async def _queue(self, pipeline: str, asks: Asking) -> bool:
        """Note that a run waits, unless that is noted: the first note decides whose turn it is."""
        try:
            await self._runs.create(subjects.waiting(pipeline, asks.run), asks.encode())
        except Conflict:
            return False
        return True

    async def _free(self, pipeline: str, left: Asking) -> None:
        async def without(places: Places) -> Places:
            return places.without(left.run)

        await self._swap(pipeline, without)
        await self._promote(pipeline, left)

    async def _promote(self, pipeline: str, asks: Asking, *, awake: str = "", renews: bool = False) -> Places:
        """Give what is free to those who wait, and wake them but for the run that is; return who has a place then.

        Who has left may wait still, by a note that somebody slow made after its end: woken, it leaves again.
        """

        async def filled(places: Places) -> Places:
            return await self._filled(pipeline, places.limited(asks) if renews else places, asks)

        before, after = await self._swap(pipeline, filled)
        for run in after.held.keys() - before.held.keys() - {awake}:
            await self._runs.drop(subjects.waiting(pipeline, run))
            self._wake(run)
        return after

    async def _filled(self, pipeline: str, places: Places, asks: Asking) -> Places:
        """Let in who waits, oldest first, while there would be room for the one who asks, or has left.

        Where there is none for him, there was none before for anybody else either.
        """
        if places.refusal(asks):
            return places
        async with aclosing(self._runs.oldest(subjects.waiting(pipeline, "*"))) as waiting:
            async for entry in waiting:
                other = Asking.decode(entry.value)
                if other.run not in places.held and not places.refusal(other):
                    places = places.given(other)
                if places.refusal(asks):
                    break
        return places

    async def _swap(self, pipeline: str, change: Callable[[Places], Awaitable[Places]]) -> tuple[Places, Places]:
        """Change who has a place; return who had one before and who has one now."""
        async with self._locks.setdefault(pipeline, asyncio.Lock()):
            for _ in range(_SWAPS):
                before, revision = await self._load(pipeline)
                after = await change(before)
                if after == before:
                    return before, after
                with suppress(Conflict):
                    await self._save(pipeline, after, revision)
                    return before, after
        raise BusError(f"lost {_SWAPS} compare-and-swaps in a row for the places of a pipeline")

    async def _load(self, pipeline: str) -> tuple[Places, int]:
        entry = await self._runs.get(subjects.limit(pipeline))
        return (Places.decode(entry.value), entry.revision) if entry else (Places(), 0)

    async def _save(self, pipeline: str, places: Places, revision: int) -> None:
        key, value = subjects.limit(pipeline), places.encode()
        await (self._runs.update(key, value, revision) if revision else self._runs.create(key, value))

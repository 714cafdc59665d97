"""The resolver: requests in, plans stored, commands and facts out. Any number of replicas.

Six loops in one task group: requests, task facts, what is due, who is present, how the queues stand, and the sweep
that finds whatever a dead replica left behind. None of them changes a run: they feed the lanes, and only lanes do.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Final

import structlog

from runmesh import metrics, subjects
from runmesh import settings as settings_of
from runmesh.bus import Bus, Message
from runmesh.bus.message import Handler
from runmesh.cloudevents import decode
from runmesh.dead import lay_to_rest
from runmesh.errors import BusError, Invalid, NotPermitted, NotProvisioned, Undecodable
from runmesh.events import TaskFact
from runmesh.resolver.door import Door
from runmesh.resolver.happened import Tick
from runmesh.resolver.intake import Intake
from runmesh.resolver.lanes import Lanes
from runmesh.resolver.planner import Planner
from runmesh.resolver.presence import Presence
from runmesh.resolver.queues import Queues
from runmesh.resolver.retention import Retention
from runmesh.resolver.store import Store
from runmesh.resolver.timers import Timers
from runmesh.settings import Settings

_REQUEST_SLOTS: Final = 256
_FACT_SLOTS: Final = 2048
_BUSY: Final = 32
_PATIENCE: Final = 6
"""How many sweeps pass over a run that this replica knows: it holds its timers, and has paid its debts."""
log = structlog.get_logger()


class Resolver:
    """One replica."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus, self._settings = bus, settings
        self._store, self._timers, self._presence = Store(bus), Timers(), Presence(bus)
        self._planner = Planner(bus, settings, settings_of.environment())
        self._retention = Retention(bus)
        self._draining = asyncio.Event()
        metrics.begin_resolver()

    def drain(self) -> None:
        """Take nothing new; `run` returns when what was taken is stored."""
        self._draining.set()

    async def run(self) -> None:
        """Resolve until drained. Raises what is fatal."""
        await self._presence.look()
        async with asyncio.TaskGroup() as tasks:
            lanes = Lanes(self._bus, tasks=tasks, timers=self._timers, surroundings=lambda: self._presence.event)
            intake = Intake(self._bus, self._planner, lanes, self._presence)
            loops = [
                tasks.create_task(loop)
                for loop in (
                    self._take_requests(intake, tasks),
                    self._take_facts(lanes),
                    self._wake(lanes),
                    self._presence.follow(),
                    self._look_at_queues(),
                    self._sweep(lanes),
                )
            ]
            await self._draining.wait()
            for loop in loops:
                loop.cancel()
            # What lanes and intake have begun ends by itself: the task group waits for it.

    async def _take_requests(self, intake: Intake, tasks: asyncio.TaskGroup) -> None:
        async with self._bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=_REQUEST_SLOTS) as pump:
            async for message in pump:
                tasks.create_task(intake.take(message))

    async def _take_facts(self, lanes: Lanes) -> None:
        async with self._bus.consume(subjects.FACTS, subjects.RESOLVER, slots=_FACT_SLOTS) as pump:
            async for message in pump:
                await self._take_fact(lanes, message)

    async def _take_fact(self, lanes: Lanes, message: Message) -> None:
        try:
            fact = decode(TaskFact, message.headers, message.data)
            _check_address(message, fact)
        except (Invalid, Undecodable) as error:
            await lay_to_rest(self._bus, message, service="resolver", reason="undecodable", error=str(error))
            return
        if fact.attempt:
            lanes.give(fact.run, fact, message)
        else:  # our own word for what was never dispatched: the run that it is of knows
            await message.ack()

    async def _wake(self, lanes: Lanes) -> None:
        async for run in self._timers.due():
            lanes.give(run, Tick())

    async def _look_at_queues(self) -> None:
        if self._settings.health_port is not None:  # else nobody could ask
            await Queues(self._bus).follow()

    async def _sweep(self, lanes: Lanes) -> None:
        """Look at every active run that nothing happened to lately, gently while there is other work."""
        while True:
            began = monotonic()
            try:
                await self._sweep_once(lanes)
            except (NotPermitted, NotProvisioned):
                raise
            except BusError as error:
                log.warning("sweep is taken again", action="sweep", error=str(error))
            except Exception:
                log.exception("sweep failed", action="sweep")
            # Looking for lost runs takes a tenth of the time; but where all is slow, none may stay lost for that.
            rest = min(9 * (monotonic() - began), self._patience)
            await asyncio.sleep(max(self._settings.sweep_interval, rest))

    @property
    def _patience(self) -> float:
        return _PATIENCE * self._settings.sweep_interval

    async def _sweep_once(self, lanes: Lanes) -> None:
        active = await self._store.active()
        lanes.forget_all_but(active, self._patience)
        for run in active:
            if lanes.rested(run, self._patience) and await self._store.is_active(run):
                lanes.sweep(run)
                await asyncio.sleep(0.02 if len(lanes) > _BUSY else 0)
        await self._retention.sweep()
        await lanes.gate.sweep()

    def endpoints(self) -> Mapping[str, tuple[str, Handler]]:
        """Return what the resolver answers at once."""
        return Door(self._bus, self._planner, self._store, self._presence).endpoints()


def _check_address(message: Message, fact: TaskFact) -> None:
    """Raise `Undecodable` unless a fact stands on its own subject: permissions on subjects say who may tell it."""
    if not subjects.tells(message.subject, fact.state, fact.executor_type, fact.pool, fact.run, fact.block):
        raise Undecodable(f"a fact of {fact.executor_type}/{fact.pool} on the subject of another")

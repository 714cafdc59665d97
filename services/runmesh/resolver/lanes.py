"""One lane per run: its events are taken in order, in batches, each batch one compare-and-swap.

The order inside a turn is the outbox rule: advance, swap, acknowledge what came, publish what is owed,
note it as published (the note rides on the next swap). A crash anywhere leaves the debt in the stored
state, where the next event or the sweep finds it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Final

import structlog

from runmesh.bus import Bus, Message
from runmesh.dead import bury
from runmesh.errors import BusError, Conflict, NotPermitted, NotProvisioned, TooLarge
from runmesh.events import TaskFact
from runmesh.resolver.advance import advance, next_due
from runmesh.resolver.arbiter import Arbiter
from runmesh.resolver.gate import Gate
from runmesh.resolver.happened import Admitted, Broken, RunEvent, Tick
from runmesh.resolver.plan import Plan
from runmesh.resolver.remembered import Part, Remembered
from runmesh.resolver.settling import give_up
from runmesh.resolver.state import Debt
from runmesh.resolver.store import Run, Store
from runmesh.resolver.timers import Timers

_REMEMBERED: Final = 10_000
_REMEMBERED_BYTES: Final = 256 * 2**20
_IN_MEMORY: Final = 4  # bytes, for each of a plan's bytes as JSON
_RECORD: Final = 1024  # bytes, for each task and debt of a state
_SWAPS: Final = 50
_TRIES: Final = 3
_AGAIN: Final = 1.0
_LONGEST: Final = 60.0
_Batch = list[tuple[RunEvent, Message | None]]
log = structlog.get_logger()


@dataclass(slots=True)
class _Memory:
    """What this replica knows of a run: the stored run, and which of its debts are paid."""

    run: Run
    paid: set[Debt] = field(default_factory=set)

    def parts(self) -> Iterator[Part]:
        """Say what it holds: a state of its own, and a plan that it may share with thousands of runs."""
        plan, state = self.run.plan, self.run.state
        yield id(self), _RECORD * (2 + len(state.tasks) + len(state.outbox))
        if plan is not None:
            yield id(plan.tasks), _IN_MEMORY * plan.size


@dataclass(slots=True)
class _Lane:
    batch: _Batch = field(default_factory=list)
    sweep: bool = False


class Lanes:
    """All the lanes of one resolver, and what it remembers of their runs."""

    def __init__(
        self,
        bus: Bus,
        *,
        tasks: asyncio.TaskGroup,
        timers: Timers,
        surroundings: Callable[[], RunEvent],
    ) -> None:
        self._bus, self._store, self._arbiter = bus, Store(bus), Arbiter(bus)
        self.gate = Gate(bus, wake=lambda run: self.give(run, Admitted()))
        self._tasks, self._timers, self._surroundings = tasks, timers, surroundings
        self._lanes: dict[str, _Lane] = {}
        self._memory = Remembered(_Memory.parts, most=_REMEMBERED, most_bytes=_REMEMBERED_BYTES)
        self._touched: dict[str, float] = {}
        """When something last happened to a run here: kept for all that have not ended, remembered or not."""
        self._broken: dict[str, int] = {}
        """How many turns of a run broke since one succeeded."""

    def __len__(self) -> int:
        return len(self._lanes)

    async def begin(self, run: Run) -> None:
        """Publish what a run owes that was just created; what happens to it meanwhile is its lane's."""
        memory, name = _Memory(run), run.state.run
        self._remember(name, memory)
        if name in self._lanes or not run.state.admitted:
            self.give(name, Tick())
            return
        lane = self._lanes[name] = _Lane()
        try:
            await self._safely(name, [], self._settle(memory))
        finally:
            self._follow(name, lane)

    def give(self, run: str, event: RunEvent, message: Message | None = None) -> None:
        """Let an event happen to a run; its message is acknowledged once the state that knows it is stored."""
        self._lane(run).batch.append((event, message))

    def sweep(self, run: str) -> None:
        """Look at a run as if for the first time: its stored state, its claims, and whatever it owes."""
        self._lane(run).sweep = True

    def rested(self, run: str, seconds: float) -> bool:
        """Say whether a run is not known here, or nothing happened to it for so long."""
        return run not in self._lanes and monotonic() - self._touched.get(run, -inf) > seconds

    def forget_all_but(self, active: Iterable[str], seconds: float) -> None:
        """Forget what rested for so long and is active no more: another replica has seen its end."""
        for run in self._touched.keys() - set(active):
            if self.rested(run, seconds):
                self._forget(run)

    def _lane(self, run: str) -> _Lane:
        lane = self._lanes.get(run)
        if lane is None:
            lane = self._lanes[run] = _Lane()
            self._tasks.create_task(self._drive(run, lane))
        return lane

    def _follow(self, run: str, lane: _Lane) -> None:
        """Give a lane a task of its own if something is in it: whoever began the run has other things to do."""
        if lane.batch or lane.sweep:
            self._tasks.create_task(self._drive(run, lane))
        else:
            del self._lanes[run]

    async def _drive(self, run: str, lane: _Lane) -> None:
        try:
            while lane.batch or lane.sweep:
                batch, lane.batch = lane.batch, []
                sweep, lane.sweep = lane.sweep, False
                await self._safely(run, batch, self._turn(run, batch, sweep=sweep))
        finally:
            # No await since the loop's last look: whatever comes now gets a lane of its own.
            del self._lanes[run]

    async def _safely(self, run: str, batch: _Batch, turn: Awaitable[None]) -> None:
        """Take one turn; what fails is delivered again, and every other run goes on."""
        try:
            await turn
            self._broken.pop(run, None)
        except (NotPermitted, NotProvisioned):
            raise
        except Exception as error:
            self._memory.forget(run)
            if isinstance(error, BusError) and not isinstance(error, TooLarge):
                log.warning("turn failed, it is taken again", run=run, error=str(error))
                await _hand_back(message for _, message in batch)
                self._timers.wake(run, _now() + timedelta(seconds=_AGAIN))
            else:
                log.exception("turn failed", run=run)
                await self._poisoned(run, [message for _, message in batch if message], error)

    async def _turn(self, run: str, batch: _Batch, *, sweep: bool) -> None:
        events = [event for event, _ in batch]
        if sweep:
            self._memory.forget(run)
            events += await self._look(run)
        memory = await self._swap(run, events)
        for _, message in batch:
            if message:
                await message.ack()
        if memory is not None:
            await self._settle(memory)
            if sweep and memory.paid and not memory.run.state.final:
                await self._note(memory)

    async def _look(self, run: str) -> list[RunEvent]:
        """Find what the stored state does not know: terminal claims; and repair an emptied work queue."""
        memory = await self._recall(run)
        if memory is None:
            await self._store.retire_orphan(run)
            return []
        stored = memory.run
        if stored.plan is None:
            return []
        events = await self._arbiter.unknown(stored.plan, stored.state)
        ended = {event.block for event in events if isinstance(event, TaskFact)}
        await self._store.republish(stored.plan, stored.state, ended)
        return [*events]

    async def _swap(self, run: str, events: list[RunEvent]) -> _Memory | None:
        """Advance the run and store it, reading it again as often as another replica is faster."""
        for _ in range(_SWAPS):
            remembered = run in self._memory
            memory = await self._recall(run)
            if memory is None:
                return None
            if memory.run.state.final:
                return await self._unpaid(memory, events)
            if memory.run.plan is None:
                raise BusError(f"run {run}: its plan is not stored yet")
            heard = events if memory.run.state.admitted else await self._ask(memory.run.plan, events)
            state = advance(memory.run.plan, memory.run.state, [self._surroundings(), *heard], _now())
            if state is memory.run.state:
                if not remembered or all(isinstance(event, Tick) for event in events):
                    return memory
                # What we remember may be old, and only therefore know nothing of the event.
                self._memory.forget(run)
                continue
            try:
                stored = await self._store.swap(memory.run, state.without(memory.paid))
            except Conflict:
                self._memory.forget(run)
                continue
            memory = _Memory(stored)
            self._remember(run, memory)
            return memory
        raise BusError(f"run {run}: lost {_SWAPS} compare-and-swaps in a row")

    async def _leave(self, run: Run) -> None:
        if run.plan and run.plan.limits:
            await self.gate.leave(run.plan, waits=not run.state.admitted)

    async def _ask(self, plan: Plan, events: list[RunEvent]) -> list[RunEvent]:
        """Add the gate's answer to what happened to a run that has no place yet, as far as anybody here knows."""
        if Admitted() in events:
            return events
        # The plan may have been lost, and made again from a project that limits nothing any more.
        return [*events, await self.gate.enter(plan) if plan.limits else Admitted()]

    async def _unpaid(self, memory: _Memory, events: list[RunEvent]) -> _Memory | None:
        """Return a run that had ended before, if it may owe something still: else all is told, and not told again."""
        if Admitted() in events:
            await self._leave(memory.run)
        if await self._store.is_active(memory.run.state.run):
            return memory
        self._forget(memory.run.state.run)
        return None

    async def _settle(self, memory: _Memory) -> None:
        """Publish what the run owes, decide what must end, and note when to look again."""
        run = memory.run
        memory.paid |= await self._store.publish_owed(run, memory.paid)
        if len(memory.paid) < len(run.state.outbox):
            self._timers.wake(run.state.run, _now() + timedelta(seconds=_AGAIN))
        elif run.state.final:
            await self._leave(run)
            await self._store.retire(run.state.run)
            self._forget(run.state.run)
            return
        if run.plan is None:
            return
        for event in await self._arbiter.decide(run.plan, run.state, _now()):
            self.give(run.state.run, event)
        if due := next_due(run.plan, run.state):
            self._timers.wake(run.state.run, due)

    async def _note(self, memory: _Memory) -> None:
        """Write down that debts are paid, so that no later sweep pays them again."""
        try:
            stored = await self._store.swap(memory.run, memory.run.state.without(memory.paid))
        except Conflict:
            self._memory.forget(memory.run.state.run)
        else:
            self._remember(stored.state.run, _Memory(stored))

    async def _poisoned(self, run: str, messages: list[Message], error: Exception) -> None:
        """Give what breaks its turn three tries; then its messages are dead, and its run fails."""
        dead = [message for message in messages if message.deliveries >= _TRIES]
        await _hand_back(message for message in messages if message not in dead)
        self._broken[run] = tries = self._broken.get(run, 0) + 1
        if not dead and tries < _TRIES:
            return  # without a message, it is the sweep that tries again
        what = f"the resolver failed on {dead[0].subject if dead else 'the run'}: {error!r}"
        try:
            for message in dead:
                await bury(self._bus, message, service="resolver", reason="poison", error=repr(error))
            if tries >= 2 * _TRIES:
                await self._give_up(run, what)
            # Acknowledged, as ever, when the stored state knows of it.
            await self._turn(run, [(Broken(what), message) for message in dead or (None,)], sweep=False)
        except (NotPermitted, NotProvisioned):
            raise
        except Exception:
            log.exception("the run can't even fail", run=run)
            self._memory.forget(run)
            await _hand_back(dead)

    async def _give_up(self, run: str, why: str) -> None:
        """End a run that can't even fail in order."""
        stored = await self._store.load(run)
        if stored and stored.plan and not stored.state.final:
            await self._store.swap(stored, give_up(stored.state, why, _now()))

    async def _recall(self, run: str) -> _Memory | None:
        if (memory := self._memory.get(run)) is None:
            stored = await self._store.load(run)
            if stored is None:
                return None
            memory = _Memory(stored)
        self._remember(run, memory)
        return memory

    def _forget(self, run: str) -> None:
        self._memory.forget(run)
        self._touched.pop(run, None)
        self._broken.pop(run, None)
        self._timers.forget(run)

    def _remember(self, run: str, memory: _Memory) -> None:
        self._touched[run] = monotonic()
        self._memory.put(run, memory)


async def _hand_back(messages: Iterable[Message | None]) -> None:
    """Have messages delivered again, the later the more often it was in vain."""
    for message in messages:
        if message:
            await message.nak(min(_AGAIN * message.deliveries, _LONGEST))


def _now() -> datetime:
    return datetime.now(UTC)

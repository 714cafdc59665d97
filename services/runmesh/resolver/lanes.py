"""One lane per run: its events are taken in order, in batches, each batch one compare-and-swap.

The order inside a turn is the outbox rule: advance, swap, acknowledge what came, publish what is owed,
note it as published (the note rides on the next swap). A crash anywhere leaves the debt in the stored
state, where the next event or the sweep finds it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
from runmesh.resolver.memories import Memories, Memory
from runmesh.resolver.plan import Plan
from runmesh.resolver.settling import give_up
from runmesh.resolver.store import Run, Store
from runmesh.resolver.timers import Timers
from runmesh.resolver.tries import AGAIN, Tries, hand_back

_SWAPS: Final = 50
_Batch = list[tuple[RunEvent, Message | None]]
log = structlog.get_logger()


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
        self._memories, self._tries = Memories(self._store), Tries()

    def __len__(self) -> int:
        return len(self._lanes)

    async def begin(self, run: Run) -> None:
        """Publish what a run owes that was just created; what happens to it meanwhile is its lane's."""
        memory, name = Memory(run), run.state.run
        self._memories.keep(memory)
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
        return run not in self._lanes and self._memories.rested(run, seconds)

    def forget_all_but(self, active: AbstractSet[str], seconds: float) -> None:
        """Forget what rested for so long and is active no more: another replica has seen its end."""
        for run in self._memories.touched - active:
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
            self._tries.forget(run)
        except (NotPermitted, NotProvisioned):
            raise
        except Exception as error:
            self._memories.doubt(run)
            if isinstance(error, BusError) and not isinstance(error, TooLarge):
                log.warning("turn failed, it is taken again", action="turn", run=run, error=str(error))
                await hand_back(message for _, message in batch if message)
                self._timers.wake(run, _now() + timedelta(seconds=AGAIN))
            else:
                log.exception("turn failed", action="turn", run=run)
                await self._poisoned(run, [message for _, message in batch if message], error)

    async def _turn(self, run: str, batch: _Batch, *, sweep: bool) -> None:
        events = [event for event, _ in batch]
        if sweep:
            self._memories.doubt(run)
            events += await self._look(run)
        memory = await self._swap(run, events)
        for _, message in batch:
            if message:
                await message.ack()
        if memory is not None:
            await self._settle(memory)
            if sweep and not memory.noted and not memory.run.state.final:
                await self._note(memory)

    async def _look(self, run: str) -> list[RunEvent]:
        """Find what the stored state does not know: terminal claims; and repair an emptied work queue."""
        memory = await self._memories.recall(run)
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

    async def _swap(self, run: str, events: list[RunEvent]) -> Memory | None:
        """Advance the run and store it, reading it again as often as another replica is faster."""
        for _ in range(_SWAPS):
            remembered = run in self._memories
            memory = await self._memories.recall(run)
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
                self._memories.doubt(run)
                continue
            try:
                stored = await self._store.swap(memory.run, state)
            except Conflict:
                self._memories.doubt(run)
                continue
            memory = Memory(stored)
            self._memories.keep(memory)
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

    async def _unpaid(self, memory: Memory, events: list[RunEvent]) -> Memory | None:
        """Return a run that had ended before, if it may owe something still: else all is told, and not told again."""
        if Admitted() in events:
            await self._leave(memory.run)
        if await self._store.is_active(memory.run.state.run):
            return memory
        self._forget(memory.run.state.run)
        return None

    async def _settle(self, memory: Memory) -> None:
        """Publish what the run owes, decide what must end, and note when to look again."""
        memory.pay(await self._store.publish_owed(memory.run))
        run = memory.run
        if run.state.outbox:
            self._timers.wake(run.state.run, _now() + timedelta(seconds=AGAIN))
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

    async def _note(self, memory: Memory) -> None:
        """Write down that debts are paid, so that no later sweep pays them again."""
        try:
            stored = await self._store.swap(memory.run, memory.run.state)
        except Conflict:
            self._memories.doubt(memory.run.state.run)
        else:
            self._memories.keep(Memory(stored))

    async def _poisoned(self, run: str, messages: list[Message], error: Exception) -> None:
        """Give what breaks its turn its tries; then its messages are dead, and its run fails."""
        dead, again, fails, hopeless = self._tries.broke(run, messages)
        await hand_back(again)
        if not fails:
            return  # without a message, it is the sweep that tries again
        what = f"the resolver failed on {dead[0].subject if dead else 'the run'}: {error!r}"
        try:
            for message in dead:
                await bury(self._bus, message, service="resolver", reason="poison", error=repr(error))
            if hopeless:
                await self._give_up(run, what)
            # Acknowledged, as ever, when the stored state knows of it.
            await self._turn(run, [(Broken(what), message) for message in dead or (None,)], sweep=False)
        except (NotPermitted, NotProvisioned):
            raise
        except Exception:
            log.exception("the run can't even fail", action="turn", run=run)
            self._memories.doubt(run)
            await hand_back(dead)

    async def _give_up(self, run: str, why: str) -> None:
        """End a run that can't even fail in order."""
        stored = await self._store.load(run)
        if stored and stored.plan and not stored.state.final:
            await self._store.swap(stored, give_up(stored.state, why, _now()))

    def _forget(self, run: str) -> None:
        self._memories.forget(run)
        self._tries.forget(run)
        self._timers.forget(run)


def _now() -> datetime:
    return datetime.now(UTC)

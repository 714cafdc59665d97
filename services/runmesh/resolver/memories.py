"""What one replica remembers of the runs it has had to do with: never more than the store knows, and maybe older."""

from collections.abc import Iterator, KeysView
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Final

from runmesh.resolver.remembered import Part, Remembered
from runmesh.resolver.state import Debt
from runmesh.resolver.store import Run, Store

_REMEMBERED: Final = 2000
"""More would not fit into a processor's caches: that costs every run a little, and a miss only its event two reads."""
_REMEMBERED_BYTES: Final = 256 * 2**20
_IN_MEMORY: Final = 4  # bytes, for each of a plan's bytes as JSON
_RECORD: Final = 1024  # bytes, for each task and debt of a state


@dataclass(slots=True)
class Memory:
    """What this replica knows of a run: as it is stored, but for the debts that were paid since."""

    run: Run
    noted: bool = True
    """No debt was: the store says the same."""

    def pay(self, left: tuple[Debt, ...]) -> None:
        """Let the run owe nothing but what is left."""
        if len(left) < len(self.run.state.outbox):
            self.run, self.noted = replace(self.run, state=self.run.state.owing(left)), False

    def parts(self) -> Iterator[Part]:
        """Say what it holds: a state of its own, and a plan that it may share with thousands of runs."""
        plan, state = self.run.plan, self.run.state
        yield id(self), _RECORD * (2 + len(state.tasks) + len(state.outbox))
        if plan is not None:
            yield id(plan.tasks), _IN_MEMORY * plan.size


class Memories:
    """As many as there is room for; when something last happened is kept for all runs that have not ended."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept = Remembered(Memory.parts, most=_REMEMBERED, most_bytes=_REMEMBERED_BYTES)
        self._touched: dict[str, float] = {}

    def __contains__(self, run: str) -> bool:
        return run in self._kept

    @property
    def touched(self) -> KeysView[str]:
        """The runs to which something happened here, remembered or not."""
        return self._touched.keys()

    async def recall(self, run: str) -> Memory | None:
        """Return what is known of a run, from the store if it must be; None if nobody knows it."""
        if (memory := self._kept.get(run)) is None:
            stored = await self._store.load(run)
            if stored is None:
                return None
            memory = Memory(stored)
        self.keep(memory)
        return memory

    def keep(self, memory: Memory) -> None:
        """Remember a run to which something happened just now."""
        run = memory.run.state.run
        self._touched[run] = monotonic()
        self._kept.put(run, memory)

    def doubt(self, run: str) -> None:
        """Read a run again before anything else happens to it: what we remember may be old."""
        self._kept.forget(run)

    def forget(self, run: str) -> None:
        """Forget a run that has ended."""
        self.doubt(run)
        self._touched.pop(run, None)

    def rested(self, run: str, seconds: float) -> bool:
        """Say whether nothing happened to a run here for so long."""
        return monotonic() - self._touched.get(run, -inf) > seconds

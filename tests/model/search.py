"""A breadth-first search through every state that the model can reach, and the traces it tells."""

import gc
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.model.state import State, Step

OfStates = Callable[[State], bool]
OfSteps = Callable[[State, Step], bool]


class Invariants(NamedTuple):
    """What must hold. The name of each is what it is called in a report, its docstring is the promise."""

    of_states: tuple[OfStates, ...]
    of_steps: tuple[OfSteps, ...]


class Broken(NamedTuple):
    """A promise that was not kept, and the shortest way there."""

    invariant: str
    promise: str
    trace: tuple[Step, ...]

    def __str__(self) -> str:
        lines = (f"{number:4} {step.who:10} {step.what}" for number, step in enumerate(self.trace, 1))
        return "\n".join([f"{self.invariant}: {self.promise}", *lines, f"     {self.trace[-1].after}"])


class Found(NamedTuple):
    """What a search found; `broken` is the first promise that was not kept, if one wasn't."""

    states: int
    steps: int
    depth: int
    broken: Broken | None


class Search:
    """Every state once, in the order of the number of steps that lead to it."""

    def __init__(
        self, start: State, steps: Callable[[State], Iterable[Step]], invariants: Invariants, goal: OfStates
    ) -> None:
        self._steps_from, self._invariants, self._goal = steps, invariants, goal
        self._numbers = {start: 0}
        self.states = [start]
        """Those that were reached so far."""
        self._from = array("l", [0])
        self._taken: list[Step | None] = [None]
        self._depth = array("h", [0])
        self._came_from: list[array[int]] = [array("l")]
        """For each state, those from which a fair step leads to it."""
        self._steps = 0

    def run(self) -> Found:
        """Search until a promise is broken, or to the end; then ask from where no goal can be reached any more."""
        with _no_collector():
            broken = self._explore() or self._stuck()
        return Found(len(self.states), self._steps, self._depth[-1], broken)

    def _explore(self) -> Broken | None:
        number = 0
        while number < len(self.states):
            state = self.states[number]
            for step in self._steps_from(state):
                self._steps += 1
                new = self._note(number, step)
                if broken := self._unkept(state, step, new=new):
                    return Broken(broken.__name__, broken.__doc__ or "", (*self._way_to(number), step))
            number += 1
        return None

    def _unkept(self, state: State, step: Step, *, new: bool) -> OfStates | OfSteps | None:
        """Return a promise that a step doesn't keep, if there is one; a state is asked about once."""
        of_states, of_steps = self._invariants
        for every in of_steps:
            if not every(state, step):
                return every
        return next((each for each in of_states if not each(step.after)), None) if new else None

    def _note(self, number: int, step: Step) -> bool:
        """Return whether a step leads where no other led before."""
        known = self._numbers.setdefault(step.after, len(self.states))
        new = known == len(self.states)
        if new:
            self.states.append(step.after)
            self._from.append(number)
            self._taken.append(step)
            self._depth.append(self._depth[number] + 1)
            self._came_from.append(array("l"))
        if step.fair:
            self._came_from[known].append(number)
        return new

    def _stuck(self) -> Broken | None:
        """Go back from every goal by fair steps: what is not met on the way is stuck."""
        met = bytearray(len(self.states))
        todo = [number for number, state in enumerate(self.states) if self._goal(state)]
        for number in todo:
            met[number] = True
        while todo:
            for before in self._came_from[todo.pop()]:
                if not met[before]:
                    met[before] = True
                    todo.append(before)
        stuck = met.find(0)
        return None if stuck < 0 else Broken("never_stuck", self._goal.__doc__ or "", tuple(self._way_to(stuck)))

    def _way_to(self, number: int) -> list[Step]:
        def back() -> Iterator[Step]:
            here = number
            while (step := self._taken[here]) is not None:
                yield step
                here = self._from[here]

        return list(back())[::-1]


@contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of small tuples in no circle: looking for circles among them would take most of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

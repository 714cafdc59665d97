"""Hears every fact of a mesh as it is stored, and judges each run soon after its end, so that none must be kept."""

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Final

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.events import FINAL_RUN_STATES, RunFact, RunState
from tests.chaos.audit import fact_of
from tests.chaos.legal import Fact, problems
from tests.eventually import eventually

LATER: Final = 30.0
"""Seconds after a run's end until it is judged: whoever still has something to say of it has said it by then."""


class Witness:
    """What was heard, and what is wrong with it."""

    def __init__(self) -> None:
        self.ends: dict[str, RunState] = {}
        self.problems: list[str] = []
        self._heard: dict[str, list[Fact]] = {}
        self._ended: deque[tuple[float, str]] = deque()

    async def listen(self, bus: Bus) -> None:
        """Hear facts until told to end."""
        async for message in bus.replay(subjects.FACTS, live=True):
            self.hear(fact_of(message))
            self.judge(monotonic() - LATER)

    async def wait(self, runs: int, within: float) -> None:
        """Wait until so many runs have ended, or until the time is over; then judge all that was heard."""
        with suppress(AssertionError):
            await eventually(lambda: len(self.ends) >= runs, within=within, every=0.5)
        await asyncio.sleep(LATER)
        self.judge(monotonic())

    def hear(self, fact: Fact) -> None:
        """Take one fact."""
        known = self._heard.get(fact.run)
        if known is None and fact.run in self.ends:
            self.problems.append(f"{fact.run}: {fact.state} is told long after the run's end")
            return
        self._heard.setdefault(fact.run, []).append(fact)
        if isinstance(fact, RunFact) and fact.state in FINAL_RUN_STATES:
            self.ends[fact.run] = fact.state
            self._ended.append((monotonic(), fact.run))

    def judge(self, before: float) -> None:
        """Judge the runs that ended before a time, and forget their facts."""
        while self._ended and self._ended[0][0] <= before:
            _, run = self._ended.popleft()
            self.problems += [f"{run}: {problem}" for problem in problems(self._heard.pop(run, []))]

"""The tries of blocks in one process: by a block's own `retry_config`, as the mesh tries a task again.

A block that failed gives its place to others until it is due again. `retry_config` of pipeline and project belong to
the process as a whole, so that tries don't multiply; to callbacks and `retry.attempts` both kinds count as attempts.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from time import monotonic
from typing import NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block, RetryPolicy
from runmesh.runtime.failed import Failed, say
from runmesh.runtime.job import Job
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.steps import Step


class Try(NamedTuple):
    """One try of a step; all of them share an outcome, as conditions are asked once."""

    step: Step
    outcome: Outcome
    policy: RetryPolicy
    number: int = 1

    @property
    def is_last(self) -> bool:
        """Whether no other may follow."""
        return self.number > self.policy.retries

    def of(self, job: Job) -> Job:
        """Return the job as this try is to see it: which attempt it is, of how many."""
        given = job.arguments
        attempt = given.attempt + self.number - 1
        retries = max(given.retries, given.attempt - 1) + self.policy.retries
        return job._replace(arguments=given._replace(attempt=attempt, retries=retries))

    def given_up(self) -> "Try":
        """Return this try as the last there is."""
        return self._replace(policy=RetryPolicy(retries=self.number - 1))


def policies(blocks: Iterable[Block]) -> tuple[dict[str, RetryPolicy], list[Problem]]:
    """Return the rules of the blocks that have some of their own, and what is wrong with any."""
    found: dict[str, RetryPolicy] = {}
    problems: list[Problem] = []
    for block in blocks:
        if block.retry_config:
            try:
                found[block.uuid] = RetryPolicy.of(block.retry_config, where=f"block {block.uuid}: retry_config")
            except Invalid as error:
                problems += error.problems
    return found, problems


class Waiting:
    """The tries that failed, until their next is due."""

    def __init__(self) -> None:
        self._next: list[tuple[float, int, Try, Failed]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._next)

    def add(self, failed: Try, error: Failed) -> None:
        """Have a step tried again after its wait, and say so."""
        wait, tries = failed.policy.wait(failed.number), failed.policy.retries + 1
        self._count += 1  # so that what is due at the same moment goes in turn
        heappush(self._next, (monotonic() + wait, self._count, failed, error))
        say(f"block {failed.step.name!r}: try {failed.number + 1} of {tries} in {wait:g} s")

    def due(self) -> Iterator[Try]:
        """Yield the tries that may begin now."""
        while self._next and self._next[0][0] <= monotonic():
            failed = heappop(self._next)[2]
            yield failed._replace(number=failed.number + 1)

    def seconds(self) -> float | None:
        """Return in how many seconds the next try is due; None if none is."""
        return max(0.0, self._next[0][0] - monotonic()) if self._next else None

    def give_up(self) -> Iterator[tuple[Try, Failed]]:
        """Yield what is not tried again after all, with its error."""
        while self._next:
            _, _, failed, error = heappop(self._next)
            yield failed, error

"""How a task ended: pure readings of what was observed, asked for, or left behind."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from runmesh.claims import Stopping
from runmesh.events import Cause, TaskState
from runmesh.executor import Observation, Phase

_LONGEST: Final = 2000
"""Characters of a reason that a job's outcome gives."""
USAGE_EXIT: Final = 2
"""With this code `runmesh-run` says that project, arguments or an input is wrong."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the terminal fact will say."""

    state: TaskState
    cause: Cause | None = None
    reason: str | None = None
    exit_code: int | None = None
    url: str | None = None
    log_tail: tuple[str, ...] = ()
    unconfirmed: bool = False
    handed_back: bool = False

    @classmethod
    def failed(cls, cause: Cause, reason: str) -> Self:
        """A task that failed without a job's own answer."""
        return cls(TaskState.FAILED, cause, reason)

    @classmethod
    def observed(cls, seen: Observation) -> Self:
        """A job that ended by itself."""
        if seen.phase is Phase.SUCCEEDED:
            return cls(TaskState.COMPLETED, exit_code=seen.exit_code, url=seen.url)
        return cls(TaskState.FAILED, _cause(seen), seen.reason, seen.exit_code, seen.url, seen.log_tail)

    @classmethod
    def stopped(cls, stopping: Stopping, seen: Observation | None = None) -> Self:
        """A job that is gone after it was told to, or that never came to be."""
        return cls(
            _state(stopping),
            stopping.cause,
            stopping.reason,
            seen.exit_code if seen else None,
            seen.url if seen else None,
            seen.log_tail if seen else (),
            handed_back=stopping.handed_back,
        )

    @classmethod
    def afterwards(cls, seen: Observation, stopping: Stopping | None) -> Self:
        """A job that ended after its task had: the stop worked in the end, unless the job succeeded before it did."""
        return cls.stopped(stopping, seen) if stopping and seen.phase is Phase.FAILED else cls.observed(seen)

    @classmethod
    def unstoppable(cls, stopping: Stopping, waited: float) -> Self:
        """A job of which nobody can say that it is gone: spends nothing."""
        cancelled = stopping.cause is Cause.CANCELLED
        told = f"{stopping.cause}: {stopping.reason or 'stopped'}"
        return cls(
            _state(stopping),
            Cause.CANCELLED if cancelled else Cause.UNVERIFIED,
            f"{told}; that the job is gone could not be confirmed within {waited:g} s",
            unconfirmed=True,
        )

    @classmethod
    def left_behind(cls, outcome: dict[str, Any] | None) -> Self:
        """A job that the platform knows no more: its stored outcome speaks, else it is lost."""
        code = outcome.get("exit_code") if outcome else None
        if not isinstance(code, int):
            return cls.failed(Cause.LOST, "the platform no longer knows the job, and it left no outcome")
        if code == 0:
            return cls(TaskState.COMPLETED, exit_code=0)
        cause = Cause.CONFIG if code == USAGE_EXIT else Cause.USER
        return cls(TaskState.FAILED, cause, f"exit code {code}, read from the stored outcome", code)

    def with_outcome(self, left: Mapping[str, Any] | None, *, needed: bool) -> "Verdict":
        """Return what the job's outcome makes of it: a condition that wasn't met, an error in one line.

        A job whose outcome the mesh needs, and that left none which can be read, has not completed (DESIGN §7).
        """
        if self.state is TaskState.COMPLETED and needed and left is None:
            reason = "it left no outcome that can be read, and without that nobody knows what follows"
            return replace(self, state=TaskState.FAILED, cause=Cause.CONFIG, reason=reason)
        if self.state is TaskState.COMPLETED and left and (unmet := _unmet(left)):
            return replace(self, state=TaskState.CONDITION_FAILED, reason=unmet)
        if self.state is TaskState.FAILED and left and self.exit_code and isinstance(error := left.get("error"), str):
            return replace(self, reason=error[:_LONGEST])
        return self


def _unmet(outcome: Mapping[str, Any]) -> str | None:
    """Say which condition was not met, if one wasn't."""
    condition = outcome.get("condition")
    if not isinstance(condition, dict) or condition.get("met") is not False:
        return None
    return f"condition {condition.get('block')!r}: {condition.get('reason') or 'not met'}"[:_LONGEST]


def _state(stopping: Stopping) -> TaskState:
    return TaskState.CANCELLED if stopping.cause is Cause.CANCELLED else TaskState.FAILED


def _cause(seen: Observation) -> Cause:
    if seen.cause is Cause.CANCELLED:
        # We stop nothing without a record in the claim: somebody else did, on the platform.
        return Cause.INFRASTRUCTURE
    return seen.cause or (Cause.USER if seen.exit_code else Cause.INFRASTRUCTURE)

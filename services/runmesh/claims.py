"""The records in the buckets `claims`, `workers` and `runs` (under ``cancelling.``) that services share.

A claim says which worker owns a task, and how far its submission went. It is the only arbiter: JetStream
accepts the acks, naks and heartbeats of a worker that has long been replaced. So every step of a task is a
compare-and-swap of its claim first, and what the step announces happens afterwards::

    claimed ──▶ submitting ──▶ submitted ──▶ terminal
       ▲            │ refused      │
       └────────────┘              └─(drain)─▶ released ──▶ taken over: epoch + 1
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from runmesh.events import Cause, Handle, TaskFact


class Record(BaseModel):
    """A small document in a bucket: JSON, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """Return the stored form."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)

    @classmethod
    def decode(cls, stored: bytes) -> Self:
        """Read the stored form. Raises ValueError when it is none."""
        return cls.model_validate_json(stored)


class ClaimPhase(StrEnum):
    """How far a task's owner has got."""

    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    """A job may exist, and only `find` knows."""
    SUBMITTED = "submitted"
    RELEASED = "released"
    """Handed over by a worker that drains: anyone may take it."""
    TERMINAL = "terminal"


class Stopping(Record):
    """Why a job is being stopped: written before the stop, reported by whoever sees the job gone."""

    cause: Cause
    reason: str | None = None
    handed_back: bool = False
    at: datetime


class Claim(Record):
    """The record. `n` is the number of the last fact that may have been told, `fact` the terminal one, whole."""

    owner: str
    epoch: int = 0
    phase: ClaimPhase = ClaimPhase.CLAIMED
    handle: Handle | None = None
    stopping: Stopping | None = None
    claimed_at: datetime
    submitting_at: datetime | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    n: int = 0
    fact: TaskFact | None = None

    @property
    def may_have_job(self) -> bool:
        """Whether something may exist on the platform."""
        return self.handle is not None or self.submitting_at is not None

    def taken_over(self, owner: str) -> Self:
        """Give the task to another owner, as far as it is.

        A number is left out: a fact goes out together with the swap it follows from, so the owner before may have told
        one whose swap was lost.
        """
        if self.handle is not None:
            phase = ClaimPhase.SUBMITTED
        else:
            phase = ClaimPhase.SUBMITTING if self.submitting_at else ClaimPhase.CLAIMED
        return self._with(owner=owner, epoch=self.epoch + 1, phase=phase, n=self.n + 1)

    def submitting(self, now: datetime) -> Self:
        """Say that from now on there may be a job."""
        return self._with(phase=ClaimPhase.SUBMITTING, submitting_at=now)

    def refused(self) -> Self:
        """Say that the platform refused explicitly: there is no job."""
        return self._with(phase=ClaimPhase.CLAIMED, submitting_at=None)

    def submitted(self, handle: Handle, now: datetime) -> Self:
        """Note the job; the fact `submitted` follows."""
        return self._with(phase=ClaimPhase.SUBMITTED, handle=handle, submitted_at=now, n=self.n + 1)

    def moved(self, handle: Handle) -> Self:
        """Note that the platform knows the job under another address now."""
        return self._with(handle=handle)

    def running(self, now: datetime) -> Self:
        """Note the start; the fact `running` follows."""
        return self._with(started_at=now, n=self.n + 1)

    def stop(self, stopping: Stopping) -> Self:
        """Note why the job is about to be stopped. The first cause stays."""
        return self if self.stopping else self._with(stopping=stopping)

    def released(self) -> Self:
        """Hand the task over to whoever comes."""
        return self._with(phase=ClaimPhase.RELEASED)

    def finished(self, fact: TaskFact) -> Self:
        """End the task: the fact is stored before it is told."""
        return self._with(phase=ClaimPhase.TERMINAL, n=fact.n, fact=fact)

    def _with(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)


class Stop(Record):
    """``cancelling.<run>``: which of a run's tasks must stop, by key, and why."""

    keys: tuple[str, ...] | Literal["all"]
    reason: str | None = None

    def names(self, key: str) -> bool:
        """Say whether the task of this key must stop."""
        return self.keys == "all" or key in self.keys


class Beat(Record):
    """``<type>.<pool>.<worker>``: what a worker process says of itself. It is alive while the record is there."""

    since: datetime
    slots: int
    held: int
    host: str
    version: str
    capabilities: tuple[str, ...] = ()
    state: Literal["working", "draining"] = "working"

"""The records in the buckets `claims`, `workers` and `runs` (under ``cancelling.``) that services share.

A claim says which worker owns a task, and how far it got; it is changed only by compare-and-swap, and
whoever creates it first is the owner. Ownership is the claim and never the message: JetStream accepts
the acks, naks and heartbeats of a worker that has long been replaced.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from runmesh.events import Cause, TaskFact


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


class Phase(StrEnum):
    """How far the owner of a task got."""

    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    """`submit` may have been called: a job may exist although there is no handle."""
    SUBMITTED = "submitted"
    RELEASED = "released"
    """A draining worker gave it up; the next one adopts the job."""
    TERMINAL = "terminal"


class Stopping(BaseModel):
    """Written before a job is stopped: whoever sees it gone reports this."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    reason: str | None = None
    at: datetime


class Claim(Record):
    """Who owns a task, and how far it got."""

    owner: str
    epoch: int = 1
    phase: Phase = Phase.CLAIMED
    handle: str | None = None
    stopping: Stopping | None = None
    claimed_at: datetime
    submitting_at: datetime | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    n: int = 0
    """How many facts the task's owners have published."""
    takeovers: int = 0
    """How many owners in a row never reached a handle."""
    fact: TaskFact | None = None
    """The terminal fact, whole: whoever finds it publishes it again."""

    @classmethod
    def ended(cls, owner: str, fact: TaskFact) -> Self:
        """Return the claim of a task that ends before any worker took it."""
        return cls(owner=owner, epoch=fact.epoch, phase=Phase.TERMINAL, claimed_at=fact.at, n=fact.n, fact=fact)


class Stop(Record):
    """``cancelling.<run>``: which of a run's tasks must stop, by key, and why."""

    keys: tuple[str, ...] | Literal["all"]
    reason: str | None = None

    def names(self, key: str) -> bool:
        """Say whether the task of this key must stop."""
        return self.keys == "all" or key in self.keys


class Worker(Record):
    """``<type>.<pool>.<worker>``: one beat of one worker process. It is alive while the record is there."""

    since: datetime
    slots: int
    held: int
    host: str
    version: str
    capabilities: tuple[str, ...] = ()
    state: Literal["working", "draining"] = "working"

"""The claim: the record that says which worker owns a task, and how far its submission went.

It is the only arbiter (JetStream accepts a stale holder's ack), so every step of a task is a
compare-and-swap of its claim first, and what the step announces happens afterwards::

    claimed ──▶ submitting ──▶ submitted ──▶ terminal
       ▲            │ refused      │
       └────────────┘              └─(drain)─▶ released ──▶ taken over: epoch + 1

`Claim` is the record with its transitions, `Claims` the bucket that holds them.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from runmesh import subjects
from runmesh.bus import Bus, Entry
from runmesh.errors import Conflict, RunmeshError, Unreachable
from runmesh.events import Cause, TaskFact
from runmesh.executor import Handle
from runmesh.worker.lease import Lease


class OwnershipLost(RunmeshError):
    """Another worker owns the task now: send nothing more for it."""


class ClaimPhase(StrEnum):
    """How far a task's owner has got."""

    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    """A job may exist, and only `find` knows."""
    SUBMITTED = "submitted"
    RELEASED = "released"
    """Handed over by a worker that drains: anyone may take it."""
    TERMINAL = "terminal"


class Stopping(BaseModel):
    """Why a job is being stopped: written before the stop, reported by whoever sees the job gone."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    reason: str | None = None
    handed_back: bool = False
    at: datetime


class Claim(BaseModel):
    """The record. `n` is the number of the last fact told, `fact` the terminal one, whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
        """Give the task to another owner, as far as it is."""
        if self.handle is not None:
            phase = ClaimPhase.SUBMITTED
        else:
            phase = ClaimPhase.SUBMITTING if self.submitting_at else ClaimPhase.CLAIMED
        return self._with(owner=owner, epoch=self.epoch + 1, phase=phase)

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

    def to_json(self) -> bytes:
        """Encode the record."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)

    def _with(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)


@dataclass(slots=True)
class Hold:
    """A claim as it was last read or written, with the revision that the next write expects."""

    key: str
    claim: Claim
    revision: int


class Claims:
    """The claims of one executor type and pool. Every write checks the lease and swaps."""

    def __init__(self, bus: Bus, lease: Lease, executor_type: str, pool: str) -> None:
        self._bucket = bus.bucket(subjects.CLAIMS)
        self._lease = lease
        self._type = executor_type
        self._pool = pool

    async def read(self, key: str) -> Hold | None:
        """Return the claim of a task, if there is one."""
        entry = await self._entry(key)
        return Hold(key, Claim.model_validate_json(entry.value), entry.revision) if entry else None

    async def create(self, key: str, claim: Claim) -> tuple[Hold, bool]:
        """Return the task's claim, and whether it is the one given here."""
        value = claim.to_json()
        while True:
            self._lease.check()
            try:
                return Hold(key, claim, await self._bucket.create(self._name(key), value)), True
            except (Conflict, Unreachable):
                entry = await self._entry(key)
            if entry is not None:
                # An answer may have been lost: what we find may be what we wrote.
                return Hold(key, Claim.model_validate_json(entry.value), entry.revision), entry.value == value
            await asyncio.sleep(0.01)

    async def take_over(self, hold: Hold, owner: str) -> bool:
        """Make `owner` the owner of a claim, unless somebody was faster."""
        try:
            await self.write(hold, hold.claim.taken_over(owner))
        except OwnershipLost:
            return False
        return True

    async def write(self, hold: Hold, claim: Claim) -> None:
        """Swap a claim for its successor. Raises `OwnershipLost`, `LeaseLost`, `TooLarge`."""
        await self.settle(hold, claim, self.post(hold, claim))

    def post(self, hold: Hold, claim: Claim) -> asyncio.Future[int]:
        """Send the swap now; `settle` waits for its answer."""
        self._lease.check()
        written = self._bucket.post(self._name(hold.key), claim.to_json(), revision=hold.revision)
        written.add_done_callback(_noted)
        return written

    async def settle(self, hold: Hold, claim: Claim, written: asyncio.Future[int]) -> None:
        """Wait until a swap that was sent has happened; one whose answer was lost is looked for."""
        while True:
            try:
                hold.revision = await written
            except (Conflict, Unreachable):
                entry = await self._entry(hold.key)
                if entry is None or (entry.value != claim.to_json() and entry.revision != hold.revision):
                    raise OwnershipLost(hold.key) from None
                if entry.value != claim.to_json():
                    await asyncio.sleep(0.01)
                    written = self.post(hold, claim)
                    continue
                hold.revision = entry.revision
            hold.claim = claim
            return

    async def forget(self, hold: Hold) -> None:
        """Delete the claim of a task that never got as far as a job."""
        self._lease.check()
        try:
            await self._bucket.delete(self._name(hold.key), hold.revision)
        except Conflict:
            raise OwnershipLost(hold.key) from None

    async def _entry(self, key: str) -> Entry | None:
        return await self._lease.insist(lambda: self._bucket.get(self._name(key)))

    def _name(self, key: str) -> str:
        return subjects.claim(self._type, self._pool, key)


def _noted(written: asyncio.Future[int]) -> None:
    # Whoever sent it may be cancelled before the answer is there.
    if not written.cancelled():
        written.exception()

"""The bucket of claims, as one worker uses it: every write checks the lease and swaps."""

import asyncio
from dataclasses import dataclass

from runmesh import subjects
from runmesh.bus import Bus, Entry
from runmesh.claims import Claim
from runmesh.errors import Conflict, RunmeshError, Unreachable
from runmesh.worker.lease import Lease


class OwnershipLost(RunmeshError):
    """Another worker owns the task now: send nothing more for it."""


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
        return Hold(key, Claim.decode(entry.value), entry.revision) if entry else None

    async def create(self, key: str, claim: Claim) -> tuple[Hold, bool]:
        """Return the task's claim, and whether it is the one given here."""
        value = claim.encode()
        while True:
            self._lease.check()
            try:
                return Hold(key, claim, await self._bucket.create(self._name(key), value)), True
            except (Conflict, Unreachable):
                entry = await self._entry(key)
            if entry is not None:
                # An answer may have been lost: what we find may be what we wrote.
                return Hold(key, Claim.decode(entry.value), entry.revision), entry.value == value
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
        written = self._bucket.post(self._name(hold.key), claim.encode(), revision=hold.revision)
        written.add_done_callback(_noted)
        return written

    async def settle(self, hold: Hold, claim: Claim, written: asyncio.Future[int]) -> None:
        """Wait until a swap that was sent has happened; one whose answer was lost is looked for."""
        while True:
            try:
                hold.revision = await written
            except (Conflict, Unreachable):
                entry = await self._entry(hold.key)
                if entry is None or (entry.value != claim.encode() and entry.revision != hold.revision):
                    raise OwnershipLost(hold.key) from None
                if entry.value != claim.encode():
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

"""One delivery in a worker's hands: what it sees, and how its next step is written."""

from typing import Any, NamedTuple

from tests.model.rules import Rules, Scope
from tests.model.state import At, Cause, Claim, Fact, Job, Life, State, Step, Submission


class Here(NamedTuple):
    """One delivery: where it is, and what it knows."""

    rules: Rules
    scope: Scope
    state: State
    worker: int
    key: int
    life: Life

    @property
    def submission(self) -> Submission:
        return self.state.submissions[self.key]

    @property
    def claim(self) -> Claim:
        """The claim as it was last read or written here."""
        claim = self.submission.claim if self.life.holds else self.life.known
        assert claim is not None
        return claim

    @property
    def draining(self) -> bool:
        return self.state.workers[self.worker].status == "draining"

    @property
    def job(self) -> Job | None:
        """The job of this key, as far as this worker's platform knows one by its name."""
        known = self.rules.derived_name or self.claim.handle
        jobs = [job for job in self.submission.jobs if not self.scope.local or job.place == self.worker]
        return jobs[0] if jobs and known else None

    def step(self, what: str, after: State, *, fair: bool = True) -> Step:
        return Step(f"worker {self.worker}", f"{what} [{self.key}]", self.key, after, fair)

    def goes(self, what: str, at: At, after: State | None = None, *, fair: bool = True, **changes: Any) -> Step:
        """Take a step to another place."""
        life = self.life._replace(at=at, **changes)
        return self.step(what, (after or self.state).life(self.worker, self.key, life), fair=fair)

    def writes(self, what: str, claim: Claim, at: At, **changes: Any) -> Step:
        """Swap the claim; whoever lost it sends nothing more for it."""
        if not self.life.holds and self.rules.swap_compares:
            return self.step(f"finds the claim swapped: {what}: no", self.state.life(self.worker, self.key, None))
        after = self.state.swap(self.key, claim)
        return self.goes(what, at, after, holds=True, known=None, **changes)

    def ends(
        self, what: str, cause: Cause, *, unconfirmed: bool = False, fair: bool = True, spent: bool = False
    ) -> Step:
        """Come to a verdict."""
        fact = Fact(cause, self.worker, self.claim.epoch, unconfirmed)
        after = self.state.spent() if spent else self.state
        at: At = "finish" if self.rules.claim_then_ack else "ack"
        return self.goes(f"{what}: {cause}{', unconfirmed' if unconfirmed else ''}", at, after, verdict=fact, fair=fair)

    def fault(self, kind: str) -> bool:
        return self.state.faults > 0 and kind in self.scope.kinds

"""What the model knows of the world: one immutable, hashable value for every moment.

Nothing here counts time. A wait is a step that may come late; what the protocol rests on (a lease ends before its
record does, a call arrives within `find_window`) is a condition under which a step can be taken at all.
"""

from typing import Final, Literal, NamedTuple

NOBODY: Final = -1
"""An owner whose id is used no more."""
RESOLVER: Final = -2

Cause = Literal["ended", "lost", "cancelled", "timeout", "handed_back", "capacity", "config", "unverified"]
Phase = Literal["claimed", "submitting", "submitted", "released", "terminal"]
Status = Literal["up", "draining", "zombie", "dead"]
At = Literal[
    "claim", "look", "take", "find", "turn", "check", "submit", "wait", "refuse", "record", "watch", "halt", "stop",
    "see", "finish", "tell", "remove", "ack", "release", "nak",
]  # fmt: skip
"""Where the coroutine of one delivery stands: each is what it does next."""


class Fact(NamedTuple):
    """A terminal fact. The model knows no exit codes: a job that `ended` may have failed."""

    cause: Cause
    by: int
    epoch: int = 0
    unconfirmed: bool = False


class Claim(NamedTuple):
    """As in `runmesh.claims`; a handle is only there or not, since a key has one job."""

    owner: int
    epoch: int = 0
    phase: Phase = "claimed"
    handle: bool = False
    submitting: bool = False
    stopping: Cause | None = None
    fact: Fact | None = None

    @property
    def may_have_job(self) -> bool:
        return self.handle or self.submitting

    @property
    def open(self) -> bool:
        return self.fact is None


class Job(NamedTuple):
    """A job as the platform has it: `told` to stop or not, and whose child it is where it is a local process."""

    running: bool = True
    told: bool = False
    place: int = NOBODY


class Submission(NamedTuple):
    """All there is under one key: its claim, its jobs, submit calls without a sender, and its stored terminal facts."""

    claim: Claim | None = None
    jobs: tuple[Job, ...] = ()
    calls: int = 0
    facts: frozenset[Fact] = frozenset()

    @property
    def running(self) -> bool:
        return any(job.running for job in self.jobs)


class Life(NamedTuple):
    """One delivery in a worker's hands."""

    at: At = "claim"
    current: bool = True
    """The message it answers is still the stored one."""
    holds: bool = False
    """What it knows of the claim is the claim's last revision: its next swap succeeds."""
    known: Claim | None = None
    """What it knows, where that is older."""
    verdict: Fact | None = None
    why: Cause | None = None
    """The stop that it is about to write."""
    warned: bool = False
    """The cancel was written before it began to submit."""


class Worker(NamedTuple):
    """One process. A zombie was stopped for longer than its lease, between the check of it and the call behind."""

    lives: tuple[Life | None, ...]
    status: Status = "up"
    record: bool = True


class Message(NamedTuple):
    """The one message that the subject of the task can hold. `waiting`: to be delivered (again)."""

    key: int
    waiting: bool = True


class Resolver(NamedTuple):
    """All replicas together."""

    submission: int = 0
    over: bool = False
    cancel: bool = False
    claimed: bool = False
    """It is known that a worker has the task."""
    sweeping: int | None = None
    """The submission whose command a sweep is about to give again."""


class Reaper(NamedTuple):
    """One round of one worker's reaper, for one key."""

    worker: int
    key: int
    at: Literal["judge", "list", "remove"]


class State(NamedTuple):
    """A moment."""

    submissions: tuple[Submission, ...]
    workers: tuple[Worker, ...]
    message: Message | None = Message(0)
    resolver: Resolver = Resolver()
    cancelling: bool = False
    reaper: Reaper | None = None
    faults: int = 0
    """How many may still come."""
    local: bool = False
    """Jobs are processes that live in their worker."""

    def record(self, owner: int) -> bool:
        """Whether an owner has a record in `workers`."""
        return owner >= 0 and self.workers[owner].record

    # --- one part changed -----------------------------------------------------------------------

    def under(self, key: int, submission: Submission) -> "State":
        before = self.submissions
        return self._replace(submissions=(*before[:key], submission, *before[key + 1 :]))

    def worker(self, number: int, worker: Worker) -> "State":
        before = self.workers
        return self._replace(workers=(*before[:number], worker, *before[number + 1 :]))

    def life(self, number: int, key: int, life: Life | None) -> "State":
        worker = self.workers[number]
        lives = (*worker.lives[:key], life, *worker.lives[key + 1 :])
        return self.worker(number, worker._replace(lives=lives))

    def swap(self, key: int, claim: Claim | None) -> "State":
        """Write a claim: whoever knew the revision before knows an old one now."""
        was = self.submissions[key].claim
        after = self.under(key, self.submissions[key]._replace(claim=claim))
        for number, worker in enumerate(self.workers):
            life = worker.lives[key]
            if life and life.holds:
                after = after.life(number, key, life._replace(holds=False, known=was))
        return after

    def without_message(self) -> "State":
        """Take the message out of the stream: every delivery of it is one of nothing now."""
        after = self._replace(message=None)
        for number, worker in enumerate(self.workers):
            for key, life in enumerate(worker.lives):
                if life and life.current:
                    after = after.life(number, key, life._replace(current=False))
        return after

    def spent(self) -> "State":
        return self._replace(faults=self.faults - 1)


class Step(NamedTuple):
    """What happens between two moments. `fair`: it comes by itself sooner or later; a fault, or luck, does not."""

    who: str
    what: str
    key: int
    after: State
    fair: bool = True

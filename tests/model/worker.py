"""The worker, await by await: what each delivery in its hands can do next (`runmesh.worker`, by module below)."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.model.here import Here
from tests.model.rules import Rules
from tests.model.state import At, Claim, Fact, Job, Phase, State, Step, Submission

# --- intake.py, claims.py -----------------------------------------------------------------------------


def _claim(here: Here) -> Iterator[Step]:
    claim = here.submission.claim
    if claim is None:
        after = here.state.swap(here.key, Claim(here.worker))
        yield here.goes("creates the claim", "turn", after, holds=True, known=None)
    elif claim.open:
        yield here.goes("reads a claim that is open", "look", holds=True, known=None)
    else:
        yield here.goes("reads a claim that is terminal", "tell", holds=True, known=None)
    if here.fault("unreadable"):
        yield _unreadable(here, claim)


def _unreadable(here: Here, claim: Claim | None) -> Step:
    """It is of another version than the command, or the command is none."""
    spent = here.state.spent()
    if claim is None:
        fact = Fact("config", here.worker)
        after = spent.swap(here.key, Claim(here.worker, phase="terminal", fact=fact))
        return here.goes("can't read the command: claim ← terminal", "tell", after, holds=True, known=None, fair=False)
    if not claim.open:
        return here.goes("can't read the command, whose claim is terminal", "tell", spent, holds=True, fair=False)
    if not _free(here, claim) and here.rules.unreadable_is_nakked:
        return here.goes("can't read the command, finds the owner alive", "nak", spent, fair=False)
    dropped = spent.without_message() if here.life.current else spent
    return here.step("drops the command that it can't read", dropped.life(here.worker, here.key, None), fair=False)


def _look(here: Here) -> Iterator[Step]:
    if _free(here, here.claim) or not here.rules.owner_must_be_gone:
        yield here.goes("finds the claim free", "take")
    else:
        yield here.goes("finds the owner alive", "nak" if here.rules.copy_is_nakked else "ack")


def _free(here: Here, claim: Claim) -> bool:
    return claim.phase == "released" or claim.owner == here.worker or not here.state.record(claim.owner)


def _take(here: Here) -> Iterator[Step]:
    if not here.life.holds and here.rules.swap_compares:
        yield here.goes("was not the first to take over", "claim", known=None)
        return
    was = here.claim
    claim = was._replace(owner=here.worker, epoch=was.epoch + 1, phase=_phase(was))
    inherited = was.owner != here.worker
    if here.scope.local and inherited and was.may_have_job:
        verdict = Fact(was.stopping or "lost", here.worker, claim.epoch)
        yield here.writes("takes over from a worker whose process died with it", claim, "finish", verdict=verdict)
    elif was.handle:
        yield here.writes("takes over", claim, "stop" if was.stopping else "watch")
    elif was.submitting and here.rules.find_first:
        yield here.writes("takes over", claim, "find")
    else:
        yield here.writes("takes over", claim, "turn")


def _phase(claim: Claim) -> Phase:
    return "submitted" if claim.handle else "submitting" if claim.submitting else "claimed"


# --- submitting.py ------------------------------------------------------------------------------------


def _find(here: Here) -> Iterator[Step]:
    if here.job is not None:
        yield here.goes("finds the job", "record")
    elif not (_under_way(here) and here.rules.find_window):
        yield here.goes("finds no job, and believes it", "turn")
    if here.fault("silence"):
        yield here.ends("gets no answer from find", "unverified", unconfirmed=True, fair=False, spent=True)
    if here.draining and not here.scope.local:
        yield here.goes("drains", "release")


def _under_way(here: Here) -> bool:
    """Whether a submit was sent, or checked and about to be sent by a zombie, that has not arrived."""
    if here.submission.calls:
        return True
    lives = [(worker, worker.lives[here.key]) for worker in here.state.workers]
    return any(
        life and (life.at == "wait" or (life.at == "submit" and worker.status == "zombie")) for worker, life in lives
    )


def _turn(here: Here) -> Iterator[Step]:
    claim = here.claim
    if here.state.cancelling:
        yield here.ends("knows that it must stop", "cancelled")
    if here.draining:
        yield here.goes("drains", "release")
    elif claim.epoch >= here.scope.most_take_overs:
        yield here.ends("gives up a task that nobody could submit", "config")
    else:
        after = claim._replace(phase="submitting", submitting=True)
        yield here.writes("claim ← submitting", after, "check", warned=here.state.cancelling)


def _check(here: Here) -> Iterator[Step]:
    if here.state.cancelling and here.rules.cancel_is_read:
        yield here.ends("reads that it must stop", "cancelled")
    else:
        yield here.goes("reads no cancel", "submit")


def _submit(here: Here) -> Iterator[Step]:
    yield here.goes("sends submit", "wait")


def _wait(here: Here) -> Iterator[Step]:
    """What becomes of the call: the worker need not be alive for it."""
    lapsed = here.scope.local and here.state.workers[here.worker].status == "zombie"
    if not lapsed:
        arrived = arrives(here.rules, here.submission, here.worker if here.scope.local else -1)
        state = here.state.under(here.key, arrived)
        yield here.goes("submit arrives, and is answered", "record", state)
        if here.fault("answer lost") and not here.scope.local:
            loose = here.submission._replace(calls=here.submission.calls + 1)
            lost = here.state.spent()
            yield here.goes("hears nothing; submit is under way", "find", lost.under(here.key, loose), fair=False)
        yield here.ends("submit is rejected", "config", fair=False)
    yield here.goes("submit is refused for now", "refuse", fair=lapsed)


def arrives(rules: Rules, submission: Submission, place: int) -> Submission:
    """Start a job, or return the one that has this name already."""
    if submission.jobs and rules.derived_name:
        return submission
    return submission._replace(jobs=(*submission.jobs, Job(place=place)))


def _refuse(here: Here) -> Iterator[Step]:
    yield here.writes("claim ← refused", here.claim._replace(phase="claimed", submitting=False), "turn")


def _record(here: Here) -> Iterator[Step]:
    yield here.writes("claim ← handle", here.claim._replace(phase="submitted", handle=True), "watch")


# --- watching.py --------------------------------------------------------------------------------------


def _watch(here: Here) -> Iterator[Step]:
    job = here.job
    if job is None:
        yield here.ends("sees the job gone, find says no", "lost")
    elif not job.running:
        yield here.ends("sees the job's end", "ended")
    else:
        yield from _must_stop(here)


def _must_stop(here: Here) -> Iterator[Step]:
    at: At = "halt" if here.rules.stop_then_cancel else "stop"
    if here.state.cancelling:
        yield here.goes("sees the cancel", at, why="cancelled")
    if here.fault("timeout"):
        yield here.goes("sees that its time is up", at, here.state.spent(), why="timeout", fair=False)
    if here.draining:
        yield here.goes("drains", at, why="handed_back") if here.scope.local else here.goes("drains", "release")


def _halt(here: Here) -> Iterator[Step]:
    yield here.writes(f"claim ← stopping: {here.life.why}", here.claim._replace(stopping=here.life.why), "stop")


def _stop(here: Here) -> Iterator[Step]:
    submission = here.submission
    if here.job is not None:
        submission = submission._replace(jobs=tuple(job._replace(told=True) for job in submission.jobs))
    yield here.goes("tells the job to stop", "see", here.state.under(here.key, submission))


def _see(here: Here) -> Iterator[Step]:
    job, cause = here.job, here.claim.stopping or here.life.why
    assert cause is not None
    if job is None or not job.running:
        yield here.ends("sees the job gone after its stop", cause)
        return
    if here.fault("stubborn"):
        yield here.ends("waits in vain for the stop", cause, unconfirmed=True, fair=False, spent=True)
    if here.draining and not here.scope.local:
        yield here.goes("drains", "release")


# --- report.py ----------------------------------------------------------------------------------------


def _finish(here: Here) -> Iterator[Step]:
    fact = here.life.verdict
    assert fact is not None
    if not here.rules.claim_then_fact and fact not in here.submission.facts:
        yield here.goes("tells the fact", "finish", here.state.under(here.key, told(here.submission, fact)))
        return
    claim = here.claim._replace(phase="terminal", fact=fact)
    yield here.writes("claim ← terminal", claim, "tell", verdict=None, why=None)


def told(submission: Submission, fact: Fact | None) -> Submission:
    """Store a fact; the same one again is the same."""
    return submission if fact is None else submission._replace(facts=submission.facts | {fact})


def _tell(here: Here) -> Iterator[Step]:
    after = here.state.under(here.key, told(here.submission, here.claim.fact))
    yield here.goes("tells the fact", "remove", after)


def _remove(here: Here) -> Iterator[Step]:
    claim = here.claim
    if claim.handle and not (claim.fact and claim.fact.unconfirmed):
        yield here.goes("removes the job", "ack", here.state.under(here.key, here.submission._replace(jobs=())))
    else:
        yield here.goes("has nothing to remove", "ack")


def _ack(here: Here) -> Iterator[Step]:
    after = here.state.without_message() if here.life.current else here.state
    if here.life.verdict is not None:  # only where a rule is broken
        yield here.goes("acks", "finish", after, current=False)
    else:
        yield here.step("acks", after.life(here.worker, here.key, None))


# --- worker.py: drain, and handing back ---------------------------------------------------------------


def _release(here: Here) -> Iterator[Step]:
    if here.claim.may_have_job:
        yield here.writes("claim ← released", here.claim._replace(phase="released"), "nak")
    elif here.life.holds:
        after = here.state.swap(here.key, None)
        yield here.goes("deletes the claim", "nak", after, holds=False, known=None)
    else:
        yield here.step("finds the claim swapped", here.state.life(here.worker, here.key, None))


def _nak(here: Here) -> Iterator[Step]:
    yield here.step("naks", handed_back(here.state, here.worker, here.key))


def handed_back(state: State, worker: int, key: int) -> State:
    """Let the message be delivered again, if this delivery is one of it."""
    life = state.workers[worker].lives[key]
    after = state.life(worker, key, None)
    if life and life.current and state.message:
        return after._replace(message=state.message._replace(waiting=True))
    return after


STEPS: Final[dict[At, Callable[[Here], Iterator[Step]]]] = {
    "claim": _claim,
    "look": _look,
    "take": _take,
    "turn": _turn,
    "check": _check,
    "submit": _submit,
    "wait": _wait,
    "find": _find,
    "refuse": _refuse,
    "record": _record,
    "watch": _watch,
    "halt": _halt,
    "stop": _stop,
    "see": _see,
    "finish": _finish,
    "tell": _tell,
    "remove": _remove,
    "ack": _ack,
    "release": _release,
    "nak": _nak,
}

"""What is promised of every step from every state that can be reached."""

from typing import Final

from tests.model.search import Invariants
from tests.model.state import State, Step, Submission


def never_two_jobs(state: State) -> bool:
    """There are never two jobs alive for one task."""
    return sum(job.running for submission in state.submissions for job in submission.jobs) <= 1


def one_terminal_fact(state: State) -> bool:
    """A submission has never a second terminal fact; the same one told again is the same."""
    return all(len(submission.facts) <= 1 for submission in state.submissions)


def over_means_over(state: State) -> bool:
    """Where a terminal fact is written or told, no job runs or can still come to be, unless the fact is unconfirmed."""
    return not any(
        _confirmed(submission) and (submission.running or _may_come(state, key))
        for key, submission in enumerate(state.submissions)
    )


def _confirmed(submission: Submission) -> bool:
    written = submission.claim.fact if submission.claim else None
    return any(not fact.unconfirmed for fact in (*submission.facts, *([written] if written else [])))


def _may_come(state: State, key: int) -> bool:
    # The supervisor starts nothing for a worker whose lease is over.
    senders = ("up", "draining") if state.local else ("up", "draining", "zombie")
    lives = [worker.lives[key] for worker in state.workers if worker.status in senders]
    return state.submissions[key].calls > 0 or any(life and life.at in ("submit", "wait") for life in lives)


def no_ack_before_the_end(before: State, step: Step) -> bool:
    """No message is acknowledged while a job may exist and its claim is open, nor dropped while its owner lives."""
    claim = before.submissions[step.key].claim
    if claim is None or not claim.open:
        return True
    if "drops" in step.what:
        return step.who == f"worker {claim.owner}" or claim.phase == "released" or not before.record(claim.owner)
    return "acks" not in step.what or not claim.may_have_job


def cancelled_starts_nothing(before: State, step: Step) -> bool:
    """Whoever begins to submit after the cancel was written sends no submit."""
    if "sends submit" not in step.what:
        return True
    lives = [worker.lives[step.key] for number, worker in enumerate(before.workers) if step.who == f"worker {number}"]
    return not any(life and life.warned for life in lives)


def a_stop_is_named(state: State) -> bool:
    """The fact of a job that we told to stop names that stop, whoever reports it."""
    told = [submission for submission in state.submissions if any(job.told for job in submission.jobs)]
    return not any(
        submission.claim and submission.claim.fact and submission.claim.fact.cause in ("ended", "lost")
        for submission in told
    )


def the_reaper_spares_the_open(before: State, step: Step) -> bool:
    """The reaper never removes the job of a task that is open."""
    claim = before.submissions[step.key].claim
    return not ("reaper removes" in step.what and claim and claim.open)


def no_job_without_a_claim(state: State) -> bool:
    """A job that runs has a claim."""
    return all(submission.claim for submission in state.submissions if submission.running)


def a_cancel_needs_no_worker(state: State) -> bool:
    """A cancelled task that nobody has claimed is ended by the resolver alone."""
    resolver = state.resolver
    unclaimed = state.submissions[resolver.submission].claim is None
    return not (resolver.cancel and not resolver.over and unclaimed and resolver.claimed)


INVARIANTS: Final = Invariants(
    of_states=(
        never_two_jobs,
        one_terminal_fact,
        over_means_over,
        a_stop_is_named,
        no_job_without_a_claim,
        a_cancel_needs_no_worker,
    ),
    of_steps=(no_ack_before_the_end, cancelled_starts_nothing, the_reaper_spares_the_open),
)


def reached(state: State) -> bool:
    """From every state, without another fault, the task ends: run over, terminal claim, fact, no message, no job."""
    ends = [submission.claim is None or submission.claim.fact in submission.facts for submission in state.submissions]
    return (
        state.resolver.over
        and state.message is None
        and all(ends)
        and not any(submission.jobs or submission.calls for submission in state.submissions)
    )

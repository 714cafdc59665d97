"""The claim's record: every way through its phases keeps what the next owner must know."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runmesh.claims import Claim, ClaimPhase, Stopping
from runmesh.events import Cause, TaskFact, TaskState
from runmesh.executor import Handle

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRESH = Claim(owner="a", claimed_at=NOW)
FACT = TaskFact(
    run="r",
    block="b",
    attempt=1,
    key="k",
    state=TaskState.COMPLETED,
    n=3,
    executor_type="k8s",
    pool="default",
    at=NOW,
    outcome={"exit_code": 0},
)

STEPS = {
    "submitting": lambda claim: claim.submitting(NOW),
    "refused": lambda claim: claim.refused(),
    "submitted": lambda claim: claim.submitted(Handle("h"), NOW),
    "running": lambda claim: claim.running(NOW),
    "stop": lambda claim: claim.stop(Stopping(cause=Cause.TIMEOUT, at=NOW)),
    "released": lambda claim: claim.released(),
    "taken_over": lambda claim: claim.taken_over("b"),
}


def test_a_fresh_claim_has_no_job() -> None:
    assert not FRESH.may_have_job


def test_a_claim_in_submitting_may_have_a_job_until_the_platform_refused() -> None:
    submitting = FRESH.submitting(NOW)
    assert submitting.may_have_job
    assert not submitting.refused().may_have_job


def test_a_take_over_goes_on_in_the_phase_that_was_reached() -> None:
    reached = {
        ClaimPhase.CLAIMED: FRESH,
        ClaimPhase.SUBMITTING: FRESH.submitting(NOW),
        ClaimPhase.SUBMITTED: FRESH.submitting(NOW).submitted(Handle("h"), NOW),
    }
    for phase, claim in reached.items():
        for left in (claim, claim.released()):
            taken = left.taken_over("b")
            assert (taken.phase, taken.owner, taken.epoch) == (phase, "b", 1)
            assert taken.handle == claim.handle


def test_the_next_owner_numbers_no_fact_as_one_whose_swap_was_lost() -> None:
    claim = FRESH.submitting(NOW).submitted(Handle("h"), NOW)
    told = claim.running(NOW)
    assert claim.taken_over("b").running(NOW).n > told.n


def test_the_first_cause_of_a_stop_stays() -> None:
    stopped = FRESH.stop(Stopping(cause=Cause.TIMEOUT, at=NOW)).stop(Stopping(cause=Cause.CANCELLED, at=NOW))
    assert stopped.stopping
    assert stopped.stopping.cause is Cause.TIMEOUT


def test_a_finished_claim_holds_the_whole_fact() -> None:
    finished = FRESH.finished(FACT)
    assert finished.phase is ClaimPhase.TERMINAL
    assert Claim.decode(finished.encode()).fact == FACT


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_facts_are_counted_up_and_nothing_of_a_job_is_forgotten(steps: list[str]) -> None:
    claim = FRESH
    for step in steps:
        before, claim = claim, STEPS[step](claim)
        assert claim.n == before.n + (step in ("submitted", "running", "taken_over"))
        assert claim.epoch == before.epoch + (step == "taken_over")
        assert claim.handle or not before.handle
        assert claim.stopping or not before.stopping
        assert claim.may_have_job or not before.may_have_job or step == "refused"
        assert Claim.decode(claim.encode()) == claim

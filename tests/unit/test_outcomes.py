"""What a job's outcome makes of its end, and how much of it a fact has room for."""

from typing import Any

import pytest

from runmesh.events import Cause, TaskState
from runmesh.worker.report import fit
from runmesh.worker.verdict import Verdict
from tests.unit.test_worker_parts import fact

DONE = Verdict(TaskState.COMPLETED, exit_code=0)
FAILED = Verdict(TaskState.FAILED, Cause.USER, "exit code 1", exit_code=1)


@pytest.mark.parametrize("left", [{}, {"condition": {"met": True}}, {"condition": None}, {"condition": "no"}, None])
def test_a_job_without_an_unmet_condition_completed(left: dict[str, Any] | None) -> None:
    assert DONE.with_outcome(left, needed=False) == DONE


def test_a_condition_that_was_not_met_is_no_completion_and_says_why() -> None:
    left = {"condition": {"met": False, "block": "gate", "reason": "returned False"}}
    verdict = DONE.with_outcome(left, needed=True)
    assert (verdict.state, verdict.cause) == (TaskState.CONDITION_FAILED, None)
    assert verdict.reason == "condition 'gate': returned False"


def test_a_job_whose_outcome_is_needed_and_missing_has_failed_for_good() -> None:
    verdict = DONE.with_outcome(None, needed=True)
    assert (verdict.state, verdict.cause) == (TaskState.FAILED, Cause.CONFIG)


def test_a_failed_job_is_told_in_the_words_of_its_runtime() -> None:
    assert FAILED.with_outcome({"error": "ValueError: 3"}, needed=False).reason == "ValueError: 3"
    assert FAILED.with_outcome({"error": 3}, needed=False) == FAILED


def test_a_job_that_was_stopped_is_told_as_stopped() -> None:
    stopped = Verdict(TaskState.FAILED, Cause.TIMEOUT, "ran longer than 3 s")
    assert stopped.with_outcome({"error": "ValueError: 3"}, needed=False) == stopped


def test_a_fact_keeps_of_an_outcome_what_the_mesh_needs() -> None:
    needed = {"children": {"count": 3}, "condition": {"met": True}}
    whole = fact(outcome={**needed, "outputs": ["x" * 4000]})
    assert fit(whole, 1000).outcome == needed

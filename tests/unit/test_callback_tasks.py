"""Conditions that were not met, and callbacks that a job could not run itself: the pure half."""

from collections.abc import Mapping, Sequence

import pytest

from runmesh.claims import Stop
from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver.advance import advance
from runmesh.resolver.happened import Broken, Cancel
from runmesh.resolver.owed import command
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State
from tests.unit.plans import NOW, begun, fact_of, plan_of

UNMET, FAILED = TaskState.CONDITION_FAILED, TaskState.FAILED
CALLBACK = ("runmesh-run", "/p", "pipe", "--block-uuid", "load", "--callbacks", "{callback}", "--error", "{error}")


def with_callbacks(plan: Plan, *statuses: str) -> Plan:
    """Let the first task have callbacks for these statuses."""
    name = next(iter(plan.tasks))
    task = plan.tasks[name].model_copy(update={"callbacks": statuses})
    own = task.model_copy(update={"callbacks": (), "command": CALLBACK, "retries": RetryPolicy()})
    return plan.model_copy(update={"tasks": plan.tasks | {name: task}, "callbacks": {name: own}})


def states(state: State) -> dict[str, str]:
    return {name: str(record.state) for name, record in state.tasks.items()}


def test_below_a_condition_that_was_not_met_nothing_runs_and_the_run_completes() -> None:
    plan = plan_of({"load": [], "below": ["load"], "further": ["below"], "beside": []})
    state = advance(plan, begun(plan), [fact_of(plan, begun(plan), "load", UNMET)], NOW)
    assert states(state) == {
        "load": "condition_failed",
        "below": "condition_failed",
        "further": "condition_failed",
        "beside": "queued",
    }
    assert advance(plan, state, [fact_of(plan, state, "beside", TaskState.COMPLETED)], NOW).state is RunState.COMPLETED


def test_below_a_failure_and_an_unmet_condition_the_failure_counts() -> None:
    plan = plan_of({"a": [], "b": [], "c": ["a", "b"]}, request={"allow_blocks_to_fail": True})
    state = begun(plan)
    facts = [fact_of(plan, state, "a", UNMET), fact_of(plan, state, "b", FAILED, Cause.CONFIG)]
    assert states(advance(plan, state, facts, NOW))["c"] == "upstream_failed"


@pytest.mark.parametrize(
    ("cause", "more", "runs"),
    [
        (Cause.TIMEOUT, {}, True),
        (Cause.UNVERIFIED, {}, True),
        (Cause.CONFIG, {}, True),
        (Cause.USER, {"exit_code": 137}, True),
        (Cause.USER, {"exit_code": 1}, False),
        (Cause.CONFIG, {"exit_code": 2}, False),
        (Cause.USER, {"exit_code": 1, "outcome": {"callbacks": ["failure"]}}, False),
        (Cause.USER, {"exit_code": 1, "outcome": {"callbacks": []}}, True),
    ],
)
def test_failure_callbacks_run_as_a_task_where_the_job_did_not_run_them(
    cause: Cause, more: dict[str, object], *, runs: bool
) -> None:
    plan = with_callbacks(plan_of({"load": []}), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, cause, **more)], NOW)
    assert ("_callback:load" in state.out()) is runs
    assert (state.state is RunState.FAILED) is not runs


def test_a_failure_that_is_tried_again_calls_nobody_back() -> None:
    plan = with_callbacks(plan_of({"load": []}, retries=RetryPolicy(retries=1, delay=0)), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, Cause.TIMEOUT)], NOW)
    assert "_callback:load" not in state.tasks


def test_failure_callbacks_run_for_a_job_that_expected_another_try_which_its_ending_run_denies() -> None:
    plan = with_callbacks(plan_of({"load": [], "beside": []}, retries=RetryPolicy(retries=1, delay=0)), "failure")
    state = advance(plan, begun(plan), [Broken("x")], NOW)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, Cause.USER, exit_code=1)], NOW)
    assert "_callback:load" in state.out()


def test_the_run_ends_when_its_callbacks_have_and_as_if_there_were_none() -> None:
    plan = with_callbacks(plan_of({"load": []}), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, Cause.TIMEOUT, reason="ran longer")], NOW)
    argv = command(plan, state, "_callback:load", 1, 0).command
    assert argv[-4:] == ("--callbacks", "failure", "--error", "ran longer")
    callback = fact_of(plan, state, "_callback:load", FAILED, Cause.USER, exit_code=1)
    state = advance(plan, state, [callback], NOW)
    assert (state.state, state.reason) == (RunState.FAILED, "block 'load' failed (timeout): ran longer")


def test_cancelled_callbacks_run_for_what_was_dispatched_and_are_not_stopped_with_the_rest() -> None:
    plan = with_callbacks(plan_of({"load": [], "below": ["load"]}), "cancelled")
    state = advance(plan, begun(plan), [Cancel(None, "enough")], NOW)
    state = advance(plan, state, [fact_of(plan, state, "load", TaskState.CANCELLED, Cause.CANCELLED)], NOW)
    assert states(state) == {"load": "cancelled", "below": "cancelled", "_callback:load": "queued"}
    assert command(plan, state, "_callback:load", 1, 0).callback
    assert Stop(keys="all").names("any")
    state = advance(plan, state, [fact_of(plan, state, "_callback:load", TaskState.COMPLETED)], NOW)
    assert state.state is RunState.CANCELLED


def test_a_callback_whose_worker_was_lost_is_tried_again_even_while_the_run_ends() -> None:
    plan = with_callbacks(plan_of({"load": []}), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, Cause.TIMEOUT)], NOW)
    state = advance(plan, state, [fact_of(plan, state, "_callback:load", FAILED, Cause.LOST)], NOW)
    assert states(state)["_callback:load"] == "retrying"
    due = state.tasks["_callback:load"].due_at
    assert due is not None
    assert states(advance(plan, state, [], due))["_callback:load"] == "queued"


def test_a_callback_that_nobody_is_there_to_run_is_given_up() -> None:
    plan = with_callbacks(plan_of({"load": []}), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", FAILED, Cause.TIMEOUT)], NOW)
    state = advance(plan, state, [fact_of(plan, state, "_callback:load", FAILED, Cause.CAPACITY)], NOW)
    assert state.state is RunState.FAILED


# --- a whole pipeline in one process -----------------------------------------------------------------

WHOLE: Mapping[str, Sequence[str]] = {"_pipeline": []}


@pytest.mark.parametrize(
    ("end", "cause", "more", "runs"),
    [
        (FAILED, Cause.TIMEOUT, {}, "failure"),
        (FAILED, Cause.USER, {"exit_code": 137}, "failure"),
        (FAILED, Cause.USER, {"exit_code": 1, "outcome": {"callbacks": ["failure"]}}, None),
        (FAILED, Cause.USER, {"exit_code": 1, "outcome": {"callbacks": []}}, "failure"),
        (FAILED, Cause.USER, {"exit_code": 1}, None),
        (TaskState.CANCELLED, Cause.CANCELLED, {}, "cancelled"),
    ],
)
def test_one_task_calls_back_for_all_blocks_of_a_process_that_could_not(
    end: TaskState, cause: Cause, more: dict[str, object], runs: str | None
) -> None:
    plan = with_callbacks(plan_of(WHOLE), "failure", "cancelled")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "_pipeline", end, cause, **more)], NOW)
    called = state.tasks.get("_callback:_pipeline")
    assert (called and called.callback) == runs
    assert ("_callback:_pipeline" in state.out()) is bool(runs)


def test_a_process_that_is_tried_again_calls_nobody_back_until_its_last_attempt() -> None:
    plan = with_callbacks(plan_of(WHOLE, retries=RetryPolicy(retries=1, delay=0)), "failure")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "_pipeline", FAILED, Cause.TIMEOUT)], NOW)
    assert states(state) == {"_pipeline": "queued"}
    state = advance(plan, state, [fact_of(plan, state, "_pipeline", FAILED, Cause.TIMEOUT)], NOW)
    assert states(state) == {"_pipeline": "failed", "_callback:_pipeline": "queued"}


def test_a_cancel_between_two_attempts_of_a_process_calls_back() -> None:
    plan = with_callbacks(plan_of(WHOLE, retries=RetryPolicy(retries=1, delay=60)), "cancelled")
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "_pipeline", FAILED, Cause.TIMEOUT)], NOW)
    state = advance(plan, state, [Cancel(None, "enough")], NOW)
    assert states(state) == {"_pipeline": "cancelled", "_callback:_pipeline": "queued"}

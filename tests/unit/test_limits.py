"""How many runs of a pipeline there may be: what the documents say, and who gets a place."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Problem
from runmesh.events import RunState
from runmesh.resolver.advance import advance, next_due
from runmesh.resolver.happened import Admitted, Cancel, NoRoom, Tick
from runmesh.resolver.limits import Concurrency, Limits, concurrency
from runmesh.resolver.places import MOST, Asking, Places
from tests.unit.plans import NOW, begun, plan_of
from tests.unit.shop import Shop

FILE = "pipelines/orders/metadata.yaml"
RANGE = "must be a whole number from 1 to 1,000,000"


def merged(
    *,
    project: dict[str, Any] | None = None,
    pipeline: dict[str, Any] | None = None,
    trigger: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Concurrency:
    return concurrency(project or {}, pipeline or {}, environment or {}, file=FILE, trigger=trigger)


# --- what the documents say ------------------------------------------------------------------------


def test_nothing_is_limited_unless_something_says_so() -> None:
    assert merged() == Concurrency()
    assert merged(pipeline={"on_pipeline_run_limit_reached": "skip"}).limits is None


def test_each_level_wins_over_the_one_before_key_by_key() -> None:
    variables = {"CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT": "4", "CONCURRENCY_CONFIG_BLOCK_RUN_LIMIT": "40"}
    assert merged(environment=variables) == Concurrency(40, Limits(4))
    project = {"pipeline_run_limit": 3, "pipeline_run_limit_all_triggers": 9}
    assert merged(project=project, environment=variables) == Concurrency(40, Limits(3, 9))
    pipeline = {"pipeline_run_limit": 2, "block_run_limit": 5, "on_pipeline_run_limit_reached": "skip"}
    assert merged(project=project, pipeline=pipeline, environment=variables) == Concurrency(5, Limits(2, 9, skip=True))
    settings = {"pipeline_run_limit": 1, "timeout": 60}
    found = merged(project=project, pipeline=pipeline, trigger=settings, environment=variables)
    assert found == Concurrency(5, Limits(1, 9, skip=True))


def test_null_takes_a_limit_away_but_not_in_the_settings_of_a_trigger() -> None:
    assert (
        merged(pipeline={"pipeline_run_limit": None}, environment={"CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT": "4"}).limits
        is None
    )
    limited = merged(pipeline={"pipeline_run_limit": 4}, trigger={"pipeline_run_limit": None})
    assert limited.limits == Limits(4)


@pytest.mark.parametrize(
    "value", [0, -1, 1.5, 2.0, 1_000_001, pytest.param(10**5000, id="huge"), True, "three", "3", [3], {}, float("inf")]
)
@pytest.mark.parametrize("key", ["block_run_limit", "pipeline_run_limit", "pipeline_run_limit_all_triggers"])
def test_a_limit_that_is_no_sensible_number_is_an_error_at_its_place(key: str, value: object) -> None:
    for level, place in {
        "pipeline": f"{FILE}: concurrency_config",
        "project": "metadata.yaml: concurrency_config",
    }.items():
        levels: dict[str, Any] = {level: {key: value}}
        (problem,) = merged(**levels).problems
        assert problem.path == f"{place}: {key}"
        assert problem.message.startswith("must be a")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "three", "1000001", "9" * 5000, "²"])
def test_a_variable_that_is_no_sensible_number_is_an_error_with_its_name(value: str) -> None:
    (problem,) = merged(environment={"CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT": value}).problems
    assert problem == Problem("CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT", f"{RANGE}, not {value[:50]!r}")


def test_an_empty_variable_says_nothing() -> None:
    assert merged(environment={"CONCURRENCY_CONFIG_PIPELINE_RUN_LIMIT": " "}) == Concurrency()


def test_an_unknown_key_or_value_is_an_error_with_the_nearest() -> None:
    (key,) = merged(pipeline={"pipeline_run_limits": 1}).problems
    assert key == Problem(
        f"{FILE}: concurrency_config: pipeline_run_limits", "is not known", "did you mean 'pipeline_run_limit'?"
    )
    (value,) = merged(project={"on_pipeline_run_limit_reached": "skipp"}).problems
    assert value.hint == "did you mean 'skip'?"


def test_a_wrong_limit_of_a_trigger_is_an_error() -> None:
    (problem,) = merged(trigger={"pipeline_run_limit": 0, "anything": "else"}).problems
    assert problem.message == RANGE


def test_explain_reports_limits_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    found = shop.ask(
        concurrency_config={"pipeline_run_limit": 2, "block_run_limit": 7},
        project={"concurrency_config": {"pipeline_run_limit_all_triggers": 5}},
    )
    assert (found.limits, found.max_in_flight, found.errors) == (Limits(2, 5), 7, ())
    wrong = shop.ask(concurrency_config={"pipeline_run_limit": 0})
    assert [problem.message for problem in wrong.errors] == [RANGE]
    environment = {"CONCURRENCY_CONFIG_BLOCK_RUN_LIMIT": "3"}
    assert shop.ask(environment=environment).max_in_flight == 3


def test_the_settings_of_a_trigger_go_before_the_pipeline(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    triggers = {"triggers": [{"name": "hourly", "settings": {"pipeline_run_limit": 5}}]}
    (shop.path / "pipelines" / "orders" / "triggers.yaml").write_text(yaml.safe_dump(triggers))
    limit: dict[str, Any] = {"concurrency_config": {"pipeline_run_limit": 2}}
    assert shop.ask(request={"pipeline": "orders", "trigger_name": "hourly"}, **limit).limits == Limits(5)
    assert shop.ask(request={"pipeline": "orders", "trigger_name": "daily"}, **limit).limits == Limits(2)


# --- who gets a place ------------------------------------------------------------------------------


def asks(run: str, trigger: str = "", per_trigger: int | None = None, all_triggers: int | None = None) -> Asking:
    return Asking(run=run, trigger=trigger, per_trigger=per_trigger, all_triggers=all_triggers)


def test_the_limits_of_the_run_that_came_last_hold_for_all() -> None:
    old, new = asks("old", per_trigger=1, all_triggers=1), asks("new", per_trigger=2, all_triggers=3)
    places = Places().limited(old).given(old)
    assert places.refusal(asks("another", per_trigger=1, all_triggers=1))
    raised = places.limited(new)
    assert raised.refusal(asks("another", per_trigger=1, all_triggers=1)) is None
    lowered = raised.given(new).limited(old)
    assert lowered.refusal(new) == "2 of 1 runs of this pipeline are running (pipeline_run_limit_all_triggers)"


def test_limits_of_triggers_that_hold_nothing_are_not_kept() -> None:
    places = Places()
    for number in range(100):
        ask = asks(f"r{number}", trigger=f"t{number}", per_trigger=1)
        places = places.limited(ask).given(ask).limited(ask).without(ask.run)
    assert places == Places()


def test_the_document_stays_within_a_message_whatever_the_limits() -> None:
    places = Places(held={f"01JB{number:022}": "every-hour" for number in range(MOST)})
    refusal = places.refusal(asks("one-more", per_trigger=1_000_000))
    assert refusal is not None
    assert len(places.encode()) < 1_000_000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.booleans())), st.integers(1, 5))
def test_no_limit_is_ever_exceeded(steps: list[tuple[str, int, bool]], most: int) -> None:
    places = Places()
    for number, (trigger, limit, leaves) in enumerate(steps):
        if leaves and places.held:
            places = places.without(next(iter(places.held)))
        ask = asks(f"r{number}", trigger, limit, most)
        before = list(places.held.values()).count(trigger)
        places = places.limited(ask)
        if places.refusal(ask) is None:
            assert before < limit
            assert len(places.held) < most
            places = Places.decode(places.given(ask).encode())
        else:
            assert before >= limit or len(places.held) >= most
        assert set(places.per_trigger) <= set(places.held.values())


# --- what it means for a run -----------------------------------------------------------------------


PLAN = plan_of({"a": []}, limits=Limits(1), request={"timeout": 60})


def test_a_limited_run_dispatches_nothing_before_it_is_admitted() -> None:
    state = begun(PLAN)
    assert (state.state, state.admitted, dict(state.tasks)) == (RunState.ACCEPTED, False, {})
    assert advance(PLAN, state, [Tick()], NOW) is state
    assert next_due(PLAN, state) == NOW + timedelta(seconds=60)
    state = advance(PLAN, state, [Admitted()], NOW)
    assert (state.state, state.admitted) == (RunState.RUNNING, True)
    assert [debt.kind for debt in state.outbox] == ["run", "run", "task", "execute"]


def test_a_run_says_once_why_it_waits() -> None:
    state = advance(PLAN, begun(PLAN), [NoRoom("full")], NOW)
    assert (state.state, state.reason) == (RunState.ACCEPTED, "waiting: full")
    assert [debt.reason for debt in state.outbox] == ["waiting: full"]
    assert advance(PLAN, state, [NoRoom("fuller")], NOW) is state
    state = advance(PLAN, state, [Admitted()], NOW)
    assert state.reason is None


def test_no_room_means_nothing_to_a_run_that_is_admitted() -> None:
    state = advance(PLAN, begun(PLAN), [Admitted()], NOW)
    assert advance(PLAN, state, [NoRoom("full"), Admitted()], NOW) is state


def test_a_run_that_is_skipped_ends_at_once_and_says_why() -> None:
    plan = plan_of({"a": [], "b": ["a"]}, limits=Limits(1, skip=True))
    state = advance(plan, begun(plan), [NoRoom("1 of 1 runs are running")], NOW)
    assert (state.state, state.reason) == (RunState.CANCELLED, "skipped: 1 of 1 runs are running")


def test_a_run_that_waits_can_be_cancelled_and_time_out() -> None:
    cancelled = advance(PLAN, begun(PLAN), [Cancel(None, "no"), Admitted()], NOW)
    assert (cancelled.state, cancelled.reason) == (RunState.CANCELLED, "no")
    late = NOW + timedelta(seconds=61)
    failed = advance(PLAN, begun(PLAN), [Tick()], late)
    assert failed.state is RunState.FAILED
    assert "timeout" in str(failed.reason)


def test_an_unlimited_run_is_admitted_from_the_start_and_stores_nothing_of_it() -> None:
    state = begun(plan_of({"a": []}))
    assert state.admitted
    assert b"admitted" not in state.encode()

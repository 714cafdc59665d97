"""The children of dynamic blocks at their limits: outcomes that say nonsense, long names, single children cancelled."""

from hashlib import sha512
from typing import Any

import pytest

from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver.advance import advance
from runmesh.resolver.happened import Cancel
from runmesh.resolver.owed import command
from runmesh.resolver.plan import Plan, carry
from runmesh.resolver.state import State
from tests.unit.plans import NOW, begun, fact_of
from tests.unit.test_dynamic import FLAT, V1, dynamic_plan, end, index_of, items, out

FAILED = TaskState.FAILED
PAIR = {"a": ([], V1), "b": (["a"], {}), "c": (["a"], {})}
NESTED = {"a": ([], V1), "b": (["a"], V1), "c": (["b"], {})}


def with_callbacks(plan: Plan, block: str) -> Plan:
    """Let a block have failure and cancelled callbacks."""
    task = plan.tasks[block].model_copy(update={"callbacks": ("failure", "cancelled")})
    argv = ("runmesh-run", "--callbacks", "{callback}", "--error", "{error}")
    own = task.model_copy(update={"callbacks": (), "command": argv, "retries": RetryPolicy()})
    return plan.model_copy(update={"tasks": plan.tasks | {block: task}, "callbacks": {block: own}})


def names(count: int, length: int) -> tuple[str, ...]:
    return tuple(sha512(str(number).encode()).hexdigest()[:length] for number in range(count))


# --- outcomes that say nonsense -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "children",
    [
        None,
        {},
        {"count": -1},
        {"count": 10**4000},
        {"count": 3, "names": ["x", "y"]},
        {"count": 1, "names": ["x" * 101]},
        {"count": 1, "names": [""]},
    ],
)
def test_a_dynamic_block_whose_items_make_no_sense_has_failed_for_good(children: Any) -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", outcome={"children": children})
    assert (state.tasks["source"].state, state.tasks["source"].cause) == (FAILED, Cause.CONFIG)
    assert state.state is RunState.FAILED
    assert (state.reason or "").startswith("block 'source' failed (config): it completed, but its outcome doesn't say")


# --- names --------------------------------------------------------------------------------------------


def test_ten_thousand_children_with_long_names_fit_into_a_state_while_all_wait_for_another_try() -> None:
    plan = dynamic_plan(PAIR, retries=RetryPolicy(retries=1, delay=3600), request={"allow_blocks_to_fail": True})
    state = end(plan, begun(plan), "a", **items(5000, *names(5000, 50)))
    assert len(state.encode()) < 200_000
    while queued := out(state):
        facts = [fact_of(plan, state, name, FAILED, Cause.USER, exit_code=1) for name in queued]
        state = advance(plan, state.model_copy(update={"outbox": ()}), facts, NOW)
    assert sum(record.state is TaskState.RETRYING for record in state.tasks.values()) == 10_000
    assert len(state.encode()) < 700_000


def test_names_that_no_state_can_take_fail_the_block_that_they_are_for() -> None:
    plan = dynamic_plan(PAIR)
    state = end(plan, begun(plan), "a", **items(4000, *names(4000, 90)))
    assert (state.tasks["c"].state, state.tasks["c"].cause) == (FAILED, Cause.CONFIG)
    assert "names of all children take more than 800,000 bytes" in (state.reason or "")


def test_a_nested_block_whose_names_no_state_can_take_has_failed() -> None:
    plan = dynamic_plan(NESTED)
    state = end(plan, begun(plan), "a", **items(3))
    for child in range(3):
        state = end(plan, state, f"b:{child}", **items(4000, *names(4000, 90)))
    assert state.fans["b"].counts() == {"completed": 2, "failed": 1}
    assert "names of all children" in (state.reason or "")
    assert state.state is RunState.FAILED


def test_named_children_are_called_the_same_in_a_retry() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(2, "north", "south"))
    state = end(plan, end(plan, state, "each:north"), "each:south", FAILED, Cause.USER, exit_code=1)
    for name in out(state):
        state = end(plan, state, name, TaskState.CANCELLED)
    again = carry(plan, plan, State.decode(state.encode()), ())
    assert out(begun(again)) == ["after:0", "each:south"]


# --- cancelling single children -----------------------------------------------------------------------


@pytest.mark.parametrize("called", [(), ("v", "w", "x", "y", "z")])
def test_a_child_that_has_not_begun_can_be_cancelled_by_its_name(called: tuple[str, ...]) -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], {})}, max_in_flight=2)
    state = end(plan, begun(plan), "a", **items(5, *called))
    name = f"b:{called[3] if called else 3}"
    state = advance(plan, state, [Cancel((name, "b:no such child", "no such block:3"))], NOW)
    assert state.fans["b"].counts() == {"cancelled": 1, "running": 2, "pending": 2}
    dispatched = set(out(state))
    while queued := out(state):
        dispatched |= set(queued)
        state = end(plan, state, queued[0])
    assert len(dispatched) == 4
    assert name not in dispatched
    assert state.tasks["b"].state is TaskState.CANCELLED


def test_a_child_that_waits_for_another_try_can_be_cancelled_by_its_name() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], {})}, retries=RetryPolicy(retries=1, delay=60))
    state = end(plan, begun(plan), "a", **items(1))
    state = end(plan, state, "b:0", FAILED, Cause.USER, exit_code=1)
    state = advance(plan, state, [Cancel(("b:0",))], NOW)
    assert (state.state, state.fans["b"].counts()) == (RunState.CANCELLED, {"cancelled": 1})


# --- callbacks of children ----------------------------------------------------------------------------


def test_what_callbacks_of_children_were_told_is_not_kept() -> None:
    plan = with_callbacks(dynamic_plan(FLAT, request={"allow_blocks_to_fail": True}), "each")
    state = end(plan, begun(plan), "source", **items(1))
    state = end(plan, state, "each:0", FAILED, Cause.TIMEOUT, reason="ran longer than 3 s")
    assert state.tasks["_callback:each:0"].reason == "ran longer than 3 s"
    state = end(plan, state, "_callback:each:0")
    assert state.tasks["_callback:each:0"].reason is None
    assert state.final


def test_callbacks_of_a_thousand_cancelled_children_go_one_after_another() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], {})}, retries=RetryPolicy(retries=1, delay=60), max_in_flight=100)
    plan = with_callbacks(plan, "b")
    state = end(plan, begun(plan), "a", **items(1000))
    while queued := out(state):
        facts = [fact_of(plan, state, name, FAILED, Cause.USER, exit_code=1) for name in queued]
        state = advance(plan, state, facts, NOW)
    state, called = advance(plan, state, [Cancel()], NOW), set[str]()
    while queued := out(state):
        assert len(queued) <= 100
        called |= set(queued)
        state = advance(plan, state, [fact_of(plan, state, name, TaskState.COMPLETED) for name in queued], NOW)
    assert called == {f"_callback:b:{child}" for child in range(1000)}
    assert state.state is RunState.CANCELLED


def test_callbacks_are_told_no_more_of_a_reason_than_an_argument_can_hold() -> None:
    plan = with_callbacks(dynamic_plan({"a": ([], {})}), "a")
    state = end(plan, begun(plan), "a", FAILED, Cause.TIMEOUT, reason="out\0of time")
    assert command(plan, state, "_callback:a", 1, 0).command[-1] == "out of time"


def test_a_block_that_is_called_like_a_placeholder_is_a_block() -> None:
    plan = dynamic_plan({"{block}": ([], {})})
    assert "{block}" in command(plan, begun(plan), "{block}", 1, 0).command


# --- much at once -------------------------------------------------------------------------------------


def test_a_child_below_a_nested_block_is_told_its_item_whoever_returned_it() -> None:
    plan = dynamic_plan(NESTED)
    state = end(plan, begun(plan), "a", **items(3))
    for child, count in enumerate((0, 2, 1)):
        state = end(plan, state, f"b:{child}", **items(count))
    assert [index_of(plan, state, f"c:{index}") for index in range(3)] == ["0:1.0", "1:1.1", "2:2.0"]

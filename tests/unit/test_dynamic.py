"""The children of dynamic blocks, as far as they are pure: who fans out, who may go, what becomes of a block."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import RetryPolicy, topological_order
from runmesh.projects.fanout import Kind, item_of, kinds, positions, width
from runmesh.projects.model import Block, Pipeline
from runmesh.resolver.advance import advance
from runmesh.resolver.fan import Fan, members, spread
from runmesh.resolver.happened import Cancel
from runmesh.resolver.owed import command, run_fact
from runmesh.resolver.plan import Plan, carry
from runmesh.resolver.state import Debt, State
from tests.unit.plans import NOW, begun, fact_of, plan_of

DONE, FAILED = TaskState.COMPLETED, TaskState.FAILED
V1 = {"dynamic": True}
REDUCE = {"reduce_output": True}
GATHER = {"reduce_output_upstream": True}
Graph = Mapping[str, tuple[list[str], dict[str, Any]]]
FLAT: Graph = {"source": ([], V1), "each": (["source"], {}), "after": (["each"], REDUCE), "join": (["after"], {})}


def pipeline_of(graph: Graph) -> Pipeline:
    blocks = {
        uuid: Block(uuid, "custom", upstream_blocks=tuple(above), configuration=configuration)
        for uuid, (above, configuration) in graph.items()
    }
    return Pipeline("pipe", blocks=blocks)


def dynamic_plan(graph: Graph, **changes: Any) -> Plan:
    pipeline = pipeline_of(graph)
    parts = kinds(pipeline, topological_order(pipeline))
    plan = plan_of({uuid: above for uuid, (above, _) in graph.items()}, **changes)
    tasks = {}
    for uuid, task in plan.tasks.items():
        inputs = dict(zip(task.upstream, parts[uuid], strict=True)) if set(parts[uuid]) - {Kind.WHOLE} else {}
        dynamic = graph[uuid][1] == V1 or graph[uuid][1].get("dynamic") is True
        flag = ("--dynamic-index", "{index}") if inputs else ()
        tasks[uuid] = task.model_copy(update={"inputs": inputs, "dynamic": dynamic, "command": (*task.command, *flag)})
    return plan.model_copy(update={"tasks": tasks})


def end(plan: Plan, state: State, name: str, how: TaskState = DONE, cause: Cause | None = None, **more: Any) -> State:
    return advance(plan, state, [fact_of(plan, state, name, how, cause, **more)], NOW)


def items(count: int, *names: str) -> dict[str, Any]:
    return {"outcome": {"children": {"count": count, **({"names": list(names)} if names else {})}}}


def out(state: State) -> list[str]:
    return sorted(state.out())


def index_of(plan: Plan, state: State, name: str) -> str:
    record = state.tasks[name]
    argv = command(plan, state, name, record.attempt, record.resubmission).command
    return argv[argv.index("--dynamic-index") + 1]


# --- who gets what ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (FLAT, {"each": [Kind.ITEMS], "after": [Kind.EACH], "join": [Kind.ALL]}),
        (
            {"a": ([], {"dynamic": {"parent": True}}), "b": (["a"], {}), "c": (["b"], {"dynamic": GATHER})},
            {"b": [Kind.ITEMS], "c": [Kind.ALL]},
        ),
        (
            {"a": ([], V1), "b": (["a"], V1), "c": (["b"], {})},
            {"b": [Kind.ITEMS], "c": [Kind.ITEMS_OF_EACH]},
        ),
        ({"a": ([], {"dynamic": "yes"}), "b": (["a"], {})}, {"b": [Kind.WHOLE]}),
        ({"a": ([], V1 | REDUCE), "b": (["a"], {})}, {"b": [Kind.WHOLE]}),
    ],
)
def test_every_block_knows_what_it_gets_of_each_upstream(graph: Graph, expected: dict[str, list[Kind]]) -> None:
    pipeline = pipeline_of(graph)
    found = kinds(pipeline, topological_order(pipeline))
    assert {uuid: list(found[uuid]) for uuid in expected} == expected


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_every_combination_of_positions_is_one_child(factors: list[int]) -> None:
    combinations = {positions(index, factors) for index in range(width(factors))}
    assert len(combinations) == width(factors)
    assert all(0 <= place < factor for combo in combinations for place, factor in zip(combo, factors, strict=True))


def test_items_of_all_children_stand_one_child_after_another() -> None:
    assert [item_of(place, [2, 0, 1]) for place in range(3)] == [(0, 0), (0, 1), (2, 0)]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.data())
def test_bits_spread_to_the_children_that_stand_there(step: int, factor: int, repeat: int, data: st.DataObject) -> None:
    above = data.draw(st.integers(0, (1 << factor) - 1))
    children = step * factor * repeat
    expected = {child for child in range(children) if above >> (child // step % factor) & 1}
    assert set(members(spread(above, step, factor, children))) == expected


# --- a run with children -----------------------------------------------------------------------------


def test_a_dynamic_block_fans_out_when_it_completed_and_its_block_ends_with_the_last_child() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(3))
    assert out(state) == ["each:0", "each:1", "each:2"]
    assert "each" not in state.tasks
    for name in ("each:1", "each:0", "each:2"):
        state = end(plan, state, name)
    assert state.tasks["each"].state is DONE
    assert "each:1" not in state.tasks


def test_a_child_goes_as_soon_as_the_one_above_it_completed() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(3))
    state = end(plan, state, "each:1")
    assert out(state) == ["after:1", "each:0", "each:2"]
    assert index_of(plan, state, "after:1") == "1:1"


def test_a_block_below_a_reduced_one_runs_once_and_gets_all() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(2))
    for name in ("each:0", "each:1", "after:0", "after:1"):
        state = end(plan, state, name)
    assert out(state) == ["join"]
    assert index_of(plan, state, "join") == "-:*2"
    assert end(plan, state, "join").state is RunState.COMPLETED


def test_children_are_called_as_the_dynamic_block_says() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(2, "north", "south"))
    assert out(state) == ["each:north", "each:south"]
    state = end(plan, state, "each:south")
    assert out(state) == ["after:1", "each:north"]


def test_a_child_whose_name_collides_fails_its_block_and_the_run() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(2, "same", "same"))
    assert (state.tasks["each"].state, state.tasks["each"].cause) == (FAILED, Cause.CONFIG)
    assert state.state is RunState.FAILED
    assert "'each:same'" in (state.reason or "")


def test_no_items_are_no_children_and_what_reduces_them_gets_an_empty_list() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(0))
    assert state.tasks["each"].state is DONE
    assert state.tasks["after"].state is DONE
    assert index_of(plan, state, "join") == "-:*0"


def test_ten_million_children_fail_their_block_and_nothing_else_is_tried() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(10_000_000))
    assert state.state is RunState.FAILED
    assert "10,000,000 children: a run may have 10,000 in all (max_dynamic_children)" in (state.reason or "")
    assert len(state.encode()) < 2000


def test_a_nested_dynamic_block_fans_out_over_the_items_of_all_its_children() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], V1), "c": (["b"], {})})
    state = end(plan, begun(plan), "a", **items(2))
    state = end(plan, state, "b:1", **items(1))
    assert out(state) == ["b:0"]
    state = end(plan, state, "b:0", **items(2))
    assert out(state) == ["c:0", "c:1", "c:2"]
    assert [index_of(plan, state, f"c:{index}") for index in range(3)] == ["0:0.0", "1:0.1", "2:1.0"]


def test_nested_children_with_names_carry_the_index_of_their_parent() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], V1), "c": (["b"], {})})
    state = end(plan, begun(plan), "a", **items(2))
    state = end(plan, state, "b:0", **items(1, "x"))
    state = end(plan, state, "b:1", **items(1, "x"))
    assert out(state) == ["c:x:0", "c:x:1"]


def test_several_dynamic_blocks_above_one_give_every_combination() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": ([], V1), "c": (["a", "b"], {})})
    state = end(plan, end(plan, begun(plan), "a", **items(2)), "b", **items(3))
    assert len(out(state)) == 6
    assert index_of(plan, state, "c:5") == "5:1,2"


def test_a_failed_child_fails_its_block_and_cancels_its_siblings() -> None:
    plan = dynamic_plan(FLAT, max_in_flight=2)
    state = end(plan, begun(plan), "source", **items(5))
    state = end(plan, state, "each:0", FAILED, Cause.USER, exit_code=1)
    assert state.state is RunState.FAILING
    assert state.stopping == "all"
    state = end(plan, state, "each:1", TaskState.CANCELLED)
    assert state.state is RunState.FAILED
    assert state.fans["each"].counts() == {"failed": 1, "cancelled": 4}


def test_where_blocks_may_fail_only_what_is_below_a_failed_child_is_given_up() -> None:
    plan = dynamic_plan(FLAT, request={"allow_blocks_to_fail": True})
    state = end(plan, begun(plan), "source", **items(2))
    state = end(plan, state, "each:0", FAILED, Cause.USER, exit_code=1)
    state = end(plan, end(plan, state, "each:1"), "after:1")
    assert state.fans["after"].counts() == {"upstream_failed": 1, "completed": 1}
    assert {name: str(record.state) for name, record in state.tasks.items() if name in FLAT} == {
        "source": "completed",
        "each": "failed",
        "after": "upstream_failed",
        "join": "upstream_failed",
    }
    assert state.state is RunState.FAILED


def test_a_child_is_tried_again_by_itself() -> None:
    plan = dynamic_plan(FLAT, retries=RetryPolicy(retries=1, delay=0))
    state = end(plan, begun(plan), "source", **items(2))
    state = end(plan, state, "each:0", FAILED, Cause.USER, exit_code=1)
    assert state.tasks["each:0"].attempt == 2
    state = end(plan, state, "each:0") if state.tasks["each:0"].state is TaskState.QUEUED else advance_to(plan, state)
    assert state.fans["each"].tries == {0: (2, 0)}


def advance_to(plan: Plan, state: State) -> State:
    return end(plan, advance(plan, state, [], NOW), "each:0")


def test_no_more_children_are_out_than_may_be() -> None:
    plan = dynamic_plan(FLAT, max_in_flight=3)
    state = end(plan, begun(plan), "source", **items(10))
    assert len(out(state)) == 3
    assert len(out(end(plan, state, "each:1"))) == 3


def test_cancelling_a_block_cancels_its_children_and_no_other_block() -> None:
    plan = dynamic_plan({"a": ([], V1), "b": (["a"], {}), "c": ([], {})}, max_in_flight=3)
    state = end(plan, begun(plan), "a", **items(5))
    state = advance(plan, state, [Cancel(("b",))], NOW)
    assert state.stopping == ("b:0", "b:1")
    for name in ("b:0", "b:1"):
        state = end(plan, state, name, TaskState.CANCELLED)
    assert state.tasks["b"].state is TaskState.CANCELLED
    assert out(state) == ["c"]


def test_a_dynamic_block_that_says_nothing_of_its_items_has_failed() -> None:
    plan = dynamic_plan(FLAT)
    assert end(plan, begun(plan), "source").state is RunState.FAILED


def test_ten_thousand_children_run_to_the_end_in_a_small_state() -> None:
    plan = dynamic_plan(FLAT, max_children=30_000)
    state = end(plan, begun(plan), "source", **items(10_000))
    largest = 0
    while not state.final:
        facts = [fact_of(plan, state, name, DONE, None) for name in state.out()]
        state = advance(plan, state.model_copy(update={"outbox": ()}), facts, NOW)
        largest = max(largest, len(state.encode()))
    assert state.state is RunState.COMPLETED
    assert state.fans["after"].counts() == {"completed": 10_000}
    assert largest < 30_000


def test_the_state_comes_back_from_its_stored_form() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(100))
    state = end(plan, end(plan, state, "each:7"), "each:99", FAILED, Cause.USER, exit_code=1)
    assert State.decode(state.encode()) == state


# --- a retry ------------------------------------------------------------------------------------------


def test_a_retry_keeps_the_children_that_completed() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(3))
    state = end(plan, end(plan, state, "each:0"), "each:2", FAILED, Cause.USER, exit_code=1)
    for name in out(state):
        state = end(plan, state, name, TaskState.CANCELLED)
    assert state.state is RunState.FAILED
    again = carry(plan, plan, state, ())
    assert again.carried == ("source",)
    assert out(begun(again)) == ["after:0", "each:1", "each:2"]


def test_a_retry_of_the_dynamic_block_makes_its_children_anew() -> None:
    plan = dynamic_plan(FLAT)
    state = end(plan, begun(plan), "source", **items(1))
    state = end(plan, end(plan, end(plan, state, "each:0"), "after:0"), "join")
    again = carry(plan, plan, state, ["source"])
    assert (again.carried, again.fans, again.items) == ((), {}, {})


def test_a_block_that_became_dynamic_since_runs_again_with_all_below_it() -> None:
    before = dynamic_plan({"a": ([], {}), "b": (["a"], {}), "c": ([], {})})
    state = begun(before)
    for name in ("a", "b", "c"):
        state = end(before, state, name)
    again = carry(dynamic_plan({"a": ([], V1), "b": (["a"], {}), "c": ([], {})}), before, state, ())
    assert (again.carried, again.fans) == (("c",), {})


# --- any pipeline with dynamic blocks -----------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for number in range(draw(st.integers(1, 6))):
        above = draw(st.lists(st.sampled_from(sorted(graph)), unique=True, max_size=2)) if graph else []
        graph[f"b{number}"] = (above, draw(st.sampled_from([{}, V1, REDUCE, V1 | REDUCE])))
    return graph


@given(graphs(), st.data())
def test_every_run_with_children_ends_once_and_forgets_nobody(graph: Graph, data: st.DataObject) -> None:
    plan = dynamic_plan(graph, max_children=60, max_in_flight=data.draw(st.integers(1, 8)))
    plan = plan.model_copy(
        update={"request": plan.request.model_copy(update={"allow_blocks_to_fail": data.draw(st.booleans())})}
    )
    state, seen = begun(plan), set[str]()
    for _ in range(2000):
        if state.final:
            break
        assert state.out(), "a run that has not ended has something out"
        name = data.draw(st.sampled_from(sorted(state.out())))
        assert len(state.out()) <= plan.max_in_flight
        assert name not in seen
        seen.add(name)
        how = data.draw(st.sampled_from([DONE, DONE, DONE, FAILED, TaskState.CONDITION_FAILED]))
        state = end(
            plan, state, name, how, Cause.CONFIG if how is FAILED else None, **items(data.draw(st.integers(0, 3)))
        )
    assert state.final
    assert all(record.final for record in state.tasks.values())
    assert all(fan.over for fan in state.fans.values())
    assert set(graph) <= set(state.tasks)


def test_a_block_whose_children_run_is_running() -> None:
    plan = dynamic_plan(FLAT, request={"allow_blocks_to_fail": True})
    state = end(plan, begun(plan), "source", **items(2))
    fact = run_fact(plan, state, Debt(kind="run", run_state=RunState.RUNNING, at=NOW))
    assert fact.blocks
    assert {name: str(block.state) for name, block in fact.blocks.items()} == {
        "source": "completed",
        "each": "running",
        "after": "pending",
        "join": "pending",
    }


def test_a_fan_counts_what_has_not_ended() -> None:
    fan = Fan(width=5).begin(0b11).end(DONE, 0b1)
    assert fan.counts() == {"completed": 1, "running": 1, "pending": 3}

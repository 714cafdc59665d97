"""In which order a whole pipeline's steps may run, which children there are, and how blocks end."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.projects import Block, Pipeline, topological_order
from runmesh.projects.fanout import positions
from runmesh.runtime.progress import MOST_CHILDREN, Progress
from runmesh.runtime.steps import Part, Step

DYNAMIC: Mapping[str, Any] = {"dynamic": True}
REDUCES: Mapping[str, Any] = {"reduce_output": True}


def block(uuid: str, *upstream: str, **configuration: Any) -> Block:
    return Block(uuid, "custom", upstream_blocks=upstream, configuration=configuration)


def progress(*blocks: Block) -> Progress:
    pipeline = Pipeline("p", blocks={block.uuid: block for block in blocks})
    return Progress(pipeline, topological_order(pipeline))


def ready(progress: Progress) -> list[Step]:
    steps = []
    while step := progress.next():
        steps.append(step)
    return steps


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def run(
    progress: Progress, items: Mapping[str, int] | None = None, states: Mapping[str, str] | None = None
) -> dict[str, tuple[Part, ...]]:
    """Run all steps and return what each got, by its name."""
    ran = {}
    while steps := ready(progress):
        for step in steps:
            ran[step.name] = step.parts
            progress.end(step, (states or {}).get(step.name, "completed"), (items or {}).get(step.name))
    return ran


def test_independent_blocks_are_ready_at_once_and_others_when_all_above_are_over() -> None:
    found = progress(block("a"), block("b"), block("c", "a", "b"))
    first, second = ready(found)
    assert (first.name, second.name) == ("a", "b")
    found.end(second, "completed", None)
    assert ready(found) == []
    found.end(first, "completed", None)
    assert names(ready(found)) == ["c"]


def test_a_dynamic_block_makes_a_child_of_the_block_below_per_item() -> None:
    ran = run(progress(block("p", **DYNAMIC), block("c", "p")), {"p": 3})
    assert ran == {"p": (), "c:0": (Part(item=0),), "c:1": (Part(item=1),), "c:2": (Part(item=2),)}


def test_children_of_several_dynamic_blocks_are_all_combinations_the_last_varying_fastest() -> None:
    blocks = (block("p", **DYNAMIC), block("q", **DYNAMIC), block("w"), block("c", "p", "w", "q"))
    ran = run(progress(*blocks), {"p": 2, "q": 3})
    found = [(parts[0].item, parts[2].item) for name, parts in ran.items() if name.startswith("c:")]
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert ran["c:0"][1] == Part()


def test_a_block_below_children_has_a_child_for_each() -> None:
    ran = run(progress(block("p", **DYNAMIC), block("c", "p"), block("g", "c")), {"p": 2})
    assert (ran["g:0"], ran["g:1"]) == ((Part(child=0),), (Part(child=1),))


def test_a_child_that_is_dynamic_makes_children_of_all_its_items() -> None:
    blocks = (block("p", **DYNAMIC), block("c", "p", **DYNAMIC), block("g", "c"))
    ran = run(progress(*blocks), {"p": 2, "c:0": 1, "c:1": 2})
    assert [ran[f"g:{child}"] for child in range(3)] == [(Part(0, 0),), (Part(1, 0),), (Part(1, 1),)]


def test_a_reduced_output_is_one_input_of_an_ordinary_block() -> None:
    ran = run(progress(block("p", **DYNAMIC), block("c", "p", **REDUCES), block("r", "c"), block("s", "r")), {"p": 3})
    assert (ran["r"], ran["s"]) == ((Part(children=3),), (Part(),))


def test_no_items_are_no_children_and_the_rest_goes_on() -> None:
    found = progress(block("p", **DYNAMIC), block("c", "p", **REDUCES), block("g", "c"))
    assert run(found, {"p": 0}) == {"p": (), "g": (Part(children=0),)}
    assert found.report() == {"p": "completed", "c": {}, "g": "completed"}


@pytest.mark.parametrize("items", [MOST_CHILDREN + 1, 10**15])
def test_too_many_children_are_refused_by_their_number(items: int) -> None:
    found = progress(block("p", **DYNAMIC), block("c", "p"))
    run(found, {"p": items})
    assert f"block 'c' would run {items:,} times" in str(found.refused)
    assert found.report() == {"p": "completed", "c": "failed"}


def test_nothing_starts_after_a_failure_and_every_block_has_a_state() -> None:
    found = progress(block("a"), block("b"), block("below", "a"), block("deep", "below"), block("late", "b"))
    first, second = ready(found)
    found.end(first, "failed", None)
    found.end(second, "completed", None)
    assert ready(found) == []
    assert found.failed == ["a"]
    expected = {"a": "failed", "b": "completed", "below": "upstream_failed", "deep": "upstream_failed"}
    assert found.report() == expected | {"late": "cancelled"}


def test_what_is_below_a_condition_that_is_not_met_is_left_out_and_the_rest_runs() -> None:
    found = progress(block("a"), block("b"), block("below", "a", "b"), block("deep", "below"), block("other", "b"))
    assert list(run(found, states={"a": "condition_failed"})) == ["a", "b", "other"]
    states = {"a": "condition_failed", "below": "condition_failed", "deep": "condition_failed"}
    assert found.report() == states | {"b": "completed", "other": "completed"}


def test_a_child_that_is_left_out_leaves_out_what_is_below_it_alone() -> None:
    found = progress(block("p", **DYNAMIC), block("c", "p"), block("g", "c"), block("h", "g"))
    ran = run(found, {"p": 3}, {"c:1": "condition_failed"})
    assert [name for name in ran if name[0] in "gh"] == ["g:0", "g:2", "h:0", "h:2"]
    counts = {"completed": 2, "condition_failed": 1}
    assert found.report() == {"p": "completed", "c": counts, "g": counts, "h": counts}


def test_a_list_of_children_is_left_out_if_any_of_them_is() -> None:
    found = progress(block("p", **DYNAMIC), block("c", "p", **REDUCES), block("r", "c"))
    assert "r" not in run(found, {"p": 2}, {"c:1": "condition_failed"})
    assert found.report()["r"] == "condition_failed"


def test_children_that_never_began_are_counted_as_cancelled() -> None:
    found = progress(block("p", **DYNAMIC), block("c", "p"))
    parent = found.next()
    assert parent
    found.end(parent, "completed", 5)
    child = found.next()
    assert child
    found.end(child, "failed", None)
    assert found.report()["c"] == {"failed": 1, "cancelled": 4}


def test_blocks_take_turns_with_their_children() -> None:
    found = progress(block("p", **DYNAMIC), block("q", **DYNAMIC), block("c", "p"), block("d", "q"))
    for step in ready(found):
        found.end(step, "completed", 3)
    assert names(ready(found)) == ["c:0", "d:0", "c:1", "d:1", "c:2", "d:2"]


def test_a_long_chain_that_is_left_out_is_no_deep_recursion() -> None:
    chain = [block(f"b{number}", f"b{number - 1}") for number in range(1, 5000)]
    found = progress(block("b0"), *chain)
    run(found, states={"b0": "condition_failed"})
    assert set(found.report().values()) == {"condition_failed"}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_children_stand_where_the_resolver_puts_them(factors: list[int]) -> None:
    parents = [block(f"p{number}", **DYNAMIC) for number in range(len(factors))]
    found = progress(*parents, block("c", *(parent.uuid for parent in parents)))
    items = {parent.uuid: factor for parent, factor in zip(parents, factors, strict=True)}
    children = [parts for name, parts in run(found, items).items() if name.startswith("c:")]
    assert [tuple(part.item for part in parts) for parts in children] == [
        positions(child, factors) for child in range(len(children))
    ]


@pytest.mark.parametrize("kind", ["chart", "scratchpad"])
def test_what_is_not_run_keeps_nobody_waiting(kind: str) -> None:
    blocks = {"note": Block("note", kind), "a": block("a", "note")}
    assert names(ready(Progress(Pipeline("p", blocks=blocks), ("a",)))) == ["a"]


def lenient(*blocks: Block) -> Progress:
    pipeline = Pipeline("p", blocks={block.uuid: block for block in blocks})
    return Progress(pipeline, topological_order(pipeline), may_fail=True)


def test_where_blocks_may_fail_only_what_is_below_one_does_not_run() -> None:
    found = lenient(block("a"), block("b"), block("below", "a", "b"), block("deep", "below"), block("late", "b"))
    assert list(run(found, states={"a": "failed"})) == ["a", "b", "late"]
    states = {"a": "failed", "b": "completed", "below": "upstream_failed", "deep": "upstream_failed"}
    assert found.report() == states | {"late": "completed"}
    assert (found.failed, found.is_stopped) == (["a"], False)


def test_where_blocks_may_fail_a_child_takes_down_what_is_below_it_alone() -> None:
    found = lenient(
        block("p", **DYNAMIC), block("c", "p"), block("g", "c", **REDUCES), block("h", "g"), block("other", "p")
    )
    ran = run(found, {"p": 3}, {"c:1": "failed", "c:2": "condition_failed"})
    assert [name for name in ran if name[0] in "gh"] == ["g:0"]
    assert len([name for name in ran if name.startswith("other")]) == 3
    report = found.report()
    assert report["c"] == {"completed": 1, "failed": 1, "condition_failed": 1}
    assert report["g"] == {"completed": 1, "upstream_failed": 1, "condition_failed": 1}
    assert report["h"] == "upstream_failed"


@pytest.mark.parametrize("child", [0, 1])
def test_where_blocks_may_fail_a_dynamic_block_or_child_that_did_has_no_items(child: int) -> None:
    found = lenient(block("p", **DYNAMIC), block("c", "p", **DYNAMIC), block("g", "c"), block("other"))
    ran = run(found, {"p": 2, f"c:{1 - child}": 1}, {f"c:{child}": "failed"})
    assert set(ran) == {"p", "c:0", "c:1", "other"}
    assert found.report()["g"] == "upstream_failed"

"""A view is folded from facts, whatever their order."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from runmesh.events import BlockStatus, RunFact, TaskFact
from runmesh.folding import Folding, fold
from runmesh.view import ChildrenView
from tests.facts import RUN, at, graph, run_fact, statuses, task_fact, whole_run

STORY: list[RunFact | TaskFact] = [
    run_fact("accepted", 0, blocks=graph({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})),
    run_fact("running", 0.1),
    task_fact("a", "queued", 0.1, n=0),
    task_fact("a", "queued", 0.2, n=1, reason="no worker"),
    task_fact("a", "submitted", 0.3, n=1, worker="w1"),
    task_fact("a", "running", 0.4, n=2, worker="w1", handle="h1"),
    task_fact("a", "running", 0.5, n=3, worker="w2", handle="h1", epoch=2),
    task_fact("a", "failed", 1, n=4, worker="w2", cause="user", reason="exit code 1", exit_code=1),
    task_fact("a", "retrying", 1.1, n=5, due_at=at(6), cause="user", reason="exit code 1"),
    task_fact("a", "queued", 6, n=0, attempt=2),
    task_fact("a", "running", 6.2, n=2, attempt=2),
    task_fact("a", "failed", 6.3, n=3, attempt=2, cause="infrastructure", handed_back=True),
    task_fact("a", "running", 6.4, n=2, attempt=2, resubmission=1),
    task_fact("a", "completed", 7, n=3, attempt=2, resubmission=1, exit_code=0),
    task_fact("b", "running", 7.1, n=2),
    task_fact("b", "failed", 8, n=3, cause="user", reason="exit code 1", exit_code=1, log_tail=("KeyError: 'x'",)),
    task_fact("c", "cancelled", 9, n=1, cause="cancelled"),
    task_fact("d", "upstream_failed", 9, n=1),
    run_fact("failing", 8.1, reason="block 'b' failed"),
    run_fact("failed", 9, blocks=statuses(a="completed", b="failed", c="cancelled", d="upstream_failed")),
]
CHILDREN: list[RunFact | TaskFact] = [
    run_fact("accepted", 0, blocks=graph({"source": (), "each": ("source",), "a:b": ()})),
    task_fact("source", "completed", 1, n=3),
    task_fact("a:b", "running", 1, n=2, worker="w1"),
    task_fact("each", "running", 1.1, n=0, attempt=0, children=12),
    *(task_fact(f"each:{index}", "running", 2, n=2) for index in range(5)),
    task_fact("each:0", "completed", 3, n=3),
    task_fact("each:1", "failed", 3, n=3, cause="user", reason="exit code 1", log_tail=("KeyError: 'x'",)),
    task_fact("each:1", "retrying", 3.1, n=4, cause="user", reason="exit code 1", due_at=at(9)),
    task_fact("each:2", "failed", 3, n=3, cause="user", reason="exit code 1"),
    task_fact("each:2", "retrying", 3.1, n=4, cause="user", due_at=at(9)),
    task_fact("each:2", "running", 9, n=2, attempt=2),
    task_fact("each:2", "failed", 10, n=3, attempt=2, cause="user", reason="no such day\nat all"),
    task_fact("each:10", "failed", 10, n=3, cause="timeout", reason="ran longer than 60 s"),
    task_fact("each:3", "completed", 10, n=3),
    task_fact("each:3", "failed", 11, n=9, cause="lost"),
    task_fact("_callback:each:2", "queued", 11, n=0),
    task_fact("_callback:each:2", "completed", 12, n=3),
    task_fact("_callback:each:10", "running", 12, n=2),
]
OVER = run_fact(
    "failed",
    20,
    blocks={
        **statuses(source="completed", **{"a:b": "completed"}),
        "each": BlockStatus(state="failed", children={"completed": 7, "failed": 2, "upstream_failed": 3}),
    },
)
LATE = [
    task_fact("b", "completed", 20, n=9, late=True),
    task_fact("c", "failed", 21, n=9, attempt=7, late=True, cause="user"),
]


@given(st.permutations(STORY))
def test_any_order_of_the_same_facts_gives_the_same_view(facts: list[RunFact | TaskFact]) -> None:
    assert fold(RUN, facts) == fold(RUN, STORY)


@given(st.lists(st.sampled_from(range(len(STORY)))), st.randoms())
def test_any_order_of_any_part_of_them_does_too(indexes: list[int], random: object) -> None:
    part = [STORY[index] for index in sorted(set(indexes))]
    shuffled = list(part)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(RUN, shuffled) == fold(RUN, part)


@given(st.lists(st.sampled_from([*STORY, *LATE])))
def test_copies_and_late_facts_change_nothing(more: list[RunFact | TaskFact]) -> None:
    copies = [fact for fact in more if fact in STORY or (isinstance(fact, TaskFact) and fact.late)]
    assert fold(RUN, [*STORY, *copies, *LATE]) == fold(RUN, STORY)


@given(st.permutations([*CHILDREN, *CHILDREN[:14]]), st.booleans())
def test_any_order_of_facts_about_children_gives_the_same_view(facts: list[RunFact | TaskFact], over: bool) -> None:  # noqa: FBT001
    end = [OVER] if over else []
    assert fold(RUN, [*facts, *end]) == fold(RUN, [*end, *CHILDREN])


def test_a_view_says_how_every_block_stands() -> None:
    view = fold(RUN, STORY)
    assert {name: str(block.state) for name, block in view.blocks.items()} == {
        "a": "completed",
        "b": "failed",
        "c": "cancelled",
        "d": "upstream_failed",
    }
    assert view.blocks["a"].attempt == 2
    assert view.blocks["a"].duration(at(100)) == 0.6
    assert view.blocks["b"].log_tail == ("KeyError: 'x'",)
    assert view.blocks["d"].upstream == ("b", "c")
    assert (view.state, view.done, view.total, view.duration(at(100))) == ("failed", 4, 4, 9.0)


def test_while_a_block_waits_for_its_next_attempt_the_view_says_why_and_until_when() -> None:
    block = fold(RUN, STORY[:9]).blocks["a"]
    assert (block.state, block.due_at, block.reason, block.worker) == ("retrying", at(6), "exit code 1", "w2")


def test_a_waiting_block_shows_the_reason() -> None:
    assert fold(RUN, STORY[:4]).blocks["a"].reason == "no worker"


def test_a_block_cancelled_while_it_waits_for_its_next_attempt_is_cancelled() -> None:
    cancelled = task_fact("a", "cancelled", 2, n=6, cause="cancelled")
    assert fold(RUN, [cancelled, *STORY[:9]]).blocks["a"].state == "cancelled"


def test_the_first_end_of_a_task_holds() -> None:
    ended = whole_run()
    contrary = task_fact("load", "failed", 30, n=9, cause="lost")
    assert fold(RUN, [contrary, *ended[:-1]]).blocks["load"].state == "completed"


def test_the_first_end_of_a_run_holds() -> None:
    assert fold(RUN, [run_fact("failed", 30), *whole_run()]).state == "completed"


def test_facts_of_other_runs_are_left_out() -> None:
    other = whole_run("failed", run="other")
    assert fold(RUN, [*other, *whole_run()]) == fold(RUN, whole_run())


def test_nothing_is_known_of_a_run_without_facts() -> None:
    view = fold(RUN, [])
    assert (view.state, view.total, view.ended) == (None, 0, False)


def test_above_two_hundred_blocks_the_totals_come_from_the_run() -> None:
    view = fold(RUN, [run_fact("accepted", counts={"pending": 1000}), task_fact("b7", "completed", 1)])
    assert (view.total, view.done) == (1000, 1)
    ended = fold(
        RUN, [run_fact("accepted", counts={"pending": 1000}), run_fact("completed", 9, counts={"completed": 1000})]
    )
    assert (ended.total, ended.done) == (1000, 1000)


def test_what_a_retry_carries_over_is_completed_without_a_task() -> None:
    carried = {**graph({"load": (), "report": ("load",)}), **statuses(load="completed")}
    view = fold(RUN, [run_fact("accepted", blocks=carried, retry_of="before")])
    assert (view.blocks["load"].state, view.blocks["report"].state, view.retry_of) == ("completed", "pending", "before")


# --- children, conditions, callbacks -------------------------------------------------------------------


def test_the_children_of_a_block_are_counted_and_are_no_blocks() -> None:
    view = fold(RUN, CHILDREN)
    assert list(view.blocks) == ["source", "each", "a:b"]
    each = view.blocks["each"]
    assert each.state == "running"
    assert each.children
    assert each.children.counts == {"completed": 2, "failed": 2, "retrying": 1, "running": 1, "pending": 6}
    assert view.counts == {"completed": 1, "running": 2}


def test_of_the_children_that_failed_the_first_few_are_named_with_attempt_and_reason() -> None:
    facts = [task_fact(f"each:{index}", "failed", 2, cause="user", reason="boom") for index in range(100, 0, -1)]
    children = fold(RUN, [*CHILDREN[:4], *facts]).blocks["each"].children
    assert children
    assert [child.name for child in children.failed] == ["each:1", "each:2", "each:3"]
    second = fold(RUN, CHILDREN).blocks["each"].children.failed[0]  # type: ignore[union-attr]
    assert (second.name, second.attempt, second.cause, second.reason) == ("each:2", 2, "user", "no such day")


def test_children_count_in_place_of_their_block_in_what_there_is_to_do() -> None:
    view = fold(RUN, CHILDREN)
    assert (view.done, view.total) == (1 + 4, 2 + 12)
    assert (fold(RUN, CHILDREN[:3]).done, fold(RUN, CHILDREN[:3]).total) == (1, 3)


def test_when_the_run_has_ended_its_own_fact_counts_the_children_that_never_began() -> None:
    view = fold(RUN, [*CHILDREN, OVER])
    children = view.blocks["each"].children
    assert children
    assert children.counts == {"completed": 7, "failed": 2, "upstream_failed": 3}
    assert (view.done, view.total) == (14, 14)


def test_a_block_that_has_ended_is_done_with_all_its_children() -> None:
    ended = task_fact("each", "cancelled", 12, n=1, attempt=0, reason="12 children: 10 cancelled, 2 completed")
    view = fold(RUN, [*CHILDREN, ended])
    assert view.blocks["each"].children.counts["pending"] == 6  # type: ignore[union-attr]
    assert (view.done, view.total) == (13, 14)


def test_children_that_a_retry_carries_over_are_completed() -> None:
    kept = BlockStatus(state="pending", executor_type="local_python", children={"completed": 8, "pending": 2})
    facts: list[RunFact | TaskFact] = [
        run_fact("accepted", blocks={"each": kept}, retry_of="before"),
        task_fact("each:4", "completed", 1, n=3),
    ]
    each = fold(RUN, facts).blocks["each"]
    assert (each.state, each.children) == ("running", ChildrenView({"completed": 9, "pending": 1}))


def test_no_items_are_no_children() -> None:
    facts = [*CHILDREN[:2], task_fact("each", "running", 1, n=0, attempt=0, children=0)]
    assert fold(RUN, facts).blocks["each"].children == ChildrenView({})
    view = fold(RUN, [*facts, task_fact("each", "completed", 1, n=1, attempt=0, reason="0 children")])
    assert (view.blocks["each"].state, view.total) == ("completed", 3)


def test_above_two_hundred_blocks_children_are_counted_too() -> None:
    facts: list[RunFact | TaskFact] = [
        run_fact("accepted", counts={"pending": 1000}),
        task_fact("each", "running", 1, attempt=0, children=3),
        task_fact("each:1", "completed", 2, n=3),
    ]
    view = fold(RUN, facts)
    assert view.blocks["each"].children == ChildrenView({"completed": 1, "pending": 2})
    assert (list(view.blocks), view.done, view.total) == (["each"], 1, 1002)


def test_conditions_and_callbacks_are_steps_of_their_block() -> None:
    planned = graph({"load": (), "send": ("load", "_condition:send"), "_condition:send": ("load",)})
    facts: list[RunFact | TaskFact] = [
        run_fact("accepted", blocks=planned, counts={"pending": 3}),
        task_fact("load", "failed", 2, n=3, cause="lost"),
        task_fact("_callback:load", "completed", 3, n=3),
    ]
    view = fold(RUN, facts)
    assert {name: [step.name for step in block.steps] for name, block in view.blocks.items()} == {
        "load": ["_callback:load"],
        "send": ["_condition:send"],
    }
    assert (view.blocks["send"].upstream, view.done, view.total) == (("load",), 1, 2)
    [step] = view.blocks["load"].steps
    assert step.state == "completed"


def test_callbacks_of_children_are_one_step_of_their_block() -> None:
    [step] = fold(RUN, CHILDREN).blocks["each"].steps
    assert (step.name, step.state, step.children) == (
        "_callback:each",
        "running",
        ChildrenView({"completed": 1, "running": 1}),
    )


def test_of_ended_children_little_is_kept() -> None:
    folding = Folding(RUN)
    for fact in CHILDREN[:2]:
        folding.add(fact)
    folding.add(task_fact("each", "running", 1, n=0, attempt=0, children=1000))
    tail = tuple(f"line {index} of a long traceback" for index in range(50))
    tracemalloc.start()
    for index in range(1000):
        for n, state in enumerate(("queued", "submitted", "running", "completed" if index % 100 else "failed")):
            folding.add(task_fact(f"each:{index}", state, n=n, log_tail=tail))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert folding.view().blocks["each"].children.counts == {"completed": 990, "failed": 10}  # type: ignore[union-attr]
    assert kept < 1_000_000

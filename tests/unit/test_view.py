"""A view is folded from facts, whatever their order."""

from hypothesis import given
from hypothesis import strategies as st

from runmesh.events import RunFact, TaskFact
from runmesh.view import fold
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

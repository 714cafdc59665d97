"""The checker itself: a life as it should be has no problem, and each way to break one is seen."""

import pytest

from runmesh.events import RunFact, TaskFact
from tests.chaos.legal import Fact, in_order, problems, stale_words
from tests.facts import run_fact, task_fact, whole_run


def without(state: str, block: str | None = None) -> list[Fact]:
    return [fact for fact in whole_run() if (str(fact.state), getattr(fact, "block", None)) != (state, block)]


def before_the_end(*facts: Fact) -> list[Fact]:
    return [*whole_run()[:-1], *facts, whole_run()[-1]]


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_whole_life_is_legal(end: str) -> None:
    assert problems(whole_run(end)) == []


def test_a_rejected_run_is_legal_alone() -> None:
    assert problems([run_fact("rejected")]) == []
    assert problems([run_fact("cancelled")]) == []
    assert problems([run_fact("completed")]) == ["the run begins as completed"]


def test_a_late_fact_changes_nothing() -> None:
    assert problems([*whole_run(), task_fact("load", "completed", 9, n=9, late=True)]) == []


def test_a_retry_is_legal() -> None:
    again = [
        task_fact("load", "queued", 0.1, n=0),
        task_fact("load", "failed", 0.2, n=3),
        task_fact("load", "retrying", 0.3, n=4),
    ]
    whole = whole_run()
    second = [
        fact.model_copy(update={"attempt": 2, "key": "second"})
        if isinstance(fact, TaskFact) and fact.block == "load"
        else fact
        for fact in whole
    ]
    assert problems([second[0], *again, *second[1:]]) == []


def test_a_queued_task_may_be_said_to_wait() -> None:
    for place in range(2, len(whole_run())):
        facts = whole_run()
        facts.insert(place, task_fact("load", "queued", 0.1, n=1))
        assert problems(facts) == []


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ([], "0 terminal facts of the run: no fact at all"),
        (without("completed"), "0 terminal facts of the run"),
        ([*whole_run(), run_fact("completed", 3)], "2 terminal facts of the run"),
        ([*whole_run(), run_fact("failed", 3)], "2 terminal facts of the run"),
        (without("accepted"), "the run begins as"),
        (before_the_end(run_fact("running", 3)), "the run is running 2 times"),
        (
            before_the_end(run_fact("failing", 3), run_fact("cancelling", 3)),
            "the run is cancelling after it was failing",
        ),
        (without("completed", "load"), "load 1.0 has 0 terminal facts"),
        (before_the_end(task_fact("load", "failed", 3, n=4)), "load 1.0 has 2 terminal facts"),
        (before_the_end(task_fact("load", "running", 3, n=2)), "load 1.0: running 2 is stored after completed 3"),
        (before_the_end(task_fact("load", "running", 3, n=9)), "load 1.0 is running after it was completed"),
        (before_the_end(task_fact("load", "completed", 3, attempt=2, n=1)), "load completed 2 times"),
        ([*whole_run(), task_fact("load", "running", 3, n=9)], "load 1.0 is running after the run has ended"),
    ],
)
def test_what_breaks_a_life_is_named(facts: list[Fact], problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(facts)), problems(facts)


def test_the_next_owner_may_tell_again_how_far_a_task_is() -> None:
    whole = whole_run()
    again = task_fact("report", "running", 1.7, n=3, epoch=1)
    end = task_fact("report", "completed", 2.0, n=4, epoch=1)
    assert problems([*whole[:-2], again, end, whole[-1]]) == []


def test_an_older_owner_may_finish_one_word_but_no_second_and_no_end() -> None:
    end = task_fact("report", "completed", 2.0, n=4, epoch=1)
    whole: list[RunFact | TaskFact] = [*whole_run()[:-2], end, whole_run()[-1]]
    word, second = task_fact("report", "running", 9, n=2), task_fact("report", "submitted", 9, n=1)
    assert problems([*whole, word]) == []
    assert stale_words([*whole, word]) == [word]
    assert "report 1.0: owner 0 speaks after owner 1" in problems([*whole, word, second])
    assert "report 1.0: owner 0 speaks after owner 1" in problems([*whole, task_fact("report", "failed", 9, n=9)])


def test_an_older_attempt_that_speaks_is_seen() -> None:
    facts: list[RunFact | TaskFact] = [
        run_fact("accepted"),
        task_fact("load", "queued", n=0, attempt=2),
        task_fact("load", "failed", n=3, attempt=1),
        task_fact("load", "failed", n=3, attempt=2),
        run_fact("failed"),
    ]
    assert "load 1.0 is failed after load 2.0 was queued" in problems(facts)


def test_what_is_stored_in_another_order_is_legal_for_whoever_reads_it_in_its_own() -> None:
    facts = whole_run()
    places = [place for place, fact in enumerate(facts) if isinstance(fact, TaskFact) and fact.block == "load"]
    first, second, *_ = places
    facts[first], facts[second] = facts[second], facts[first]
    assert "load 1.0: queued 0 is stored after" in problems(facts)[0]
    assert problems(in_order(facts)) == []

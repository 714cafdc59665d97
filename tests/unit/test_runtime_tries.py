"""The tries of a block in one process: how many, which is the last, and when the next is due."""

from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest

from runmesh.projects import Block, RetryPolicy
from runmesh.runtime.arguments import Arguments
from runmesh.runtime.failed import Failed
from runmesh.runtime.job import Job
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.steps import Step
from runmesh.runtime.tries import Try, Waiting, policies
from tests.eventually import eventually


def tried(name: str = "load", number: int = 1, **rules: Any) -> Try:
    return Try(Step(Block(name, "custom")), Outcome([]), RetryPolicy(**rules), number)


def job(attempt: int, retries: int) -> Job:
    arguments = Arguments("shop", "p", datetime.now(UTC), attempt=attempt, retries=retries)
    nothing: Any = None
    return Job(nothing, nothing, None, arguments, "", nothing, nothing, Outcome([]), {})


@pytest.mark.parametrize(
    ("attempt", "retries", "number", "expected"),
    [
        pytest.param(1, 0, 1, (1, False), id="the first of three"),
        pytest.param(1, 0, 3, (3, True), id="the last of three"),
        pytest.param(1, 1, 3, (3, False), id="the last of a process that is tried again"),
        pytest.param(2, 1, 2, (3, False), id="the second of the last process"),
        pytest.param(2, 1, 3, (4, True), id="the last of all"),
        pytest.param(5, 1, 2, (6, False), id="of a process that has no business to be there"),
        pytest.param(5, 1, 3, (7, True), id="its last"),
    ],
)
def test_a_block_sees_which_attempt_it_is_of_process_and_tries(
    attempt: int, retries: int, number: int, expected: tuple[int, bool]
) -> None:
    seen = tried(number=number, retries=2).of(job(attempt, retries))
    assert (seen.arguments.attempt, seen.is_last_attempt) == expected


def test_what_is_given_up_has_had_its_last_try() -> None:
    assert tried(number=2, retries=5).given_up().of(job(1, 0)).is_last_attempt
    assert not tried(number=2, retries=5).given_up().of(job(1, 1)).is_last_attempt, "the process is tried again"


async def test_what_failed_is_due_after_its_wait_and_what_waited_longest_goes_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting = Waiting()
    assert (bool(waiting), waiting.seconds()) == (False, None)
    waiting.add(tried("late", retries=2, delay=600, max_delay=600), Failed("no stock"))
    waiting.add(tried("soon", retries=3, delay=0.1), Failed("no stock"))
    waiting.add(tried("now", 2, retries=2, delay=0), Failed("no stock"))
    assert waiting.seconds() == 0
    due: list[tuple[str, int]] = []

    def both_are_due() -> bool:
        due.extend((each.step.name, each.number) for each in waiting.due())
        return len(due) == 2

    await eventually(both_are_due)
    assert due == [("now", 3), ("soon", 2)]
    assert 0 < (waiting.seconds() or 0) <= 600
    assert capsys.readouterr().err.splitlines() == [
        "runmesh-run: block 'late': try 2 of 3 in 600 s",
        "runmesh-run: block 'soon': try 2 of 4 in 0.1 s",
        "runmesh-run: block 'now': try 3 of 3 in 0 s",
    ]
    assert [(each.step.name, str(error)) for each, error in waiting.give_up()] == [("late", "no stock")]
    assert not waiting


def test_waits_are_those_of_the_mesh() -> None:
    waiting, began = Waiting(), monotonic()
    waiting.add(tried(number=4, retries=9, delay=5, max_delay=30), Failed("no stock"))
    assert waiting.seconds() == pytest.approx(RetryPolicy(delay=5, max_delay=30).wait(4), abs=monotonic() - began + 1)


def test_only_a_blocks_own_rules_count_and_every_mistake_is_found() -> None:
    found, mistakes = policies(
        [
            Block("own", "custom", retry_config={"retries": 2}),
            Block("none", "custom"),
            Block("wrong", "custom", retry_config={"retries": -1}),
            Block("odd", "custom", retry_config={"retrys": 1}),
        ]
    )
    assert found == {"own": RetryPolicy(retries=2)}
    assert [each.path for each in mistakes] == [
        "block wrong: retry_config: retries",
        "block odd: retry_config: retrys",
    ]

"""What of a job's output is stored, and what stands for the rest."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from runmesh.bus import Stored
from runmesh.errors import Unreachable
from runmesh.executor import LogLine, Position
from runmesh.worker.allowance import FRAME, Allowance, Gap
from runmesh.worker.logs import Unconfirmed
from tests.eventually import eventually

SIZE = 9


def line(number: int) -> LogLine:
    """Every line takes ten bytes."""
    return LogLine("stdout", number, f"line{number:05}", Position((10 * number, number)))


def test_all_of_a_burst_is_stored_and_nothing_more_at_once() -> None:
    allowance = Allowance(burst=100, rate=1)
    assert [allowance.take(10) for _ in range(11)] == [True] * 10 + [False]


async def test_what_was_closed_opens_again_for_long_pieces() -> None:
    allowance = Allowance(burst=50_000, rate=1_000_000)
    while allowance.take(1_000):
        pass
    assert await eventually(lambda: allowance.take(1))
    assert [allowance.take(1_000) for _ in range(40)] == [True] * 40


def test_a_gap_says_what_is_missing_in_the_place_of_its_last_line() -> None:
    gap = Gap()
    assert gap.close() == []
    for number in range(6, 106):
        gap.add(line(number))
    (mark,) = gap.close()
    assert (mark.number, mark.position) == (105, line(105).position)
    assert mark.text == "… 1,000 bytes left out, at least 100 lines: more than is stored of a log"
    assert gap.close(at_end=True) == []


def test_the_end_of_the_output_is_kept_whatever_came_before() -> None:
    gap = Gap()
    for number in range(1, 5001):
        gap.add(line(number))
    mark, *tail = gap.close(at_end=True)
    assert [each.number for each in tail] == list(range(5001 - len(tail), 5001))
    assert 16_000 < len(tail) * (SIZE + FRAME) <= 16_384
    assert mark.number == tail[0].number - 1
    missing = 5000 - len(tail)
    assert mark.text.startswith(f"… {10 * missing:,} bytes left out, at least {missing:,} lines")


def test_a_gap_that_fits_at_the_end_is_none() -> None:
    gap = Gap()
    for number in (1, 2, 3):
        gap.add(line(number))
    assert gap.close(at_end=True) == [line(1), line(2), line(3)]


@given(st.lists(st.booleans(), max_size=60))
def test_stored_lines_and_marks_are_numbered_one_after_another_or_say_what_is_missing(taken: list[bool]) -> None:
    gap, stored = Gap(), list[LogLine]()
    for number, take in enumerate(taken, 1):
        if take:
            stored += [*gap.close(), line(number)]
        else:
            gap.add(line(number))
    stored += gap.close(at_end=True)
    numbers = [each.number for each in stored]
    assert numbers == sorted(set(numbers))
    assert not taken or numbers[-1] == len(taken)
    missing = sum(int(each.text.split("at least ")[1].split()[0]) - 1 for each in stored if "left out" in each.text)
    assert missing == len(taken) - len(stored)


async def test_all_jobs_together_leave_only_so_much_unconfirmed() -> None:
    unconfirmed, first, second = Unconfirmed(100), asyncio.Future[Stored](), asyncio.Future[Stored]()
    unconfirmed.add(first, 80)
    await unconfirmed.room()
    unconfirmed.add(second, 80)
    waiting = asyncio.create_task(unconfirmed.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.set_exception(Unreachable("refused, or away: both make room"))
    await waiting
    assert first.exception()

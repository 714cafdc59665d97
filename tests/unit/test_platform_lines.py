"""Lines of output as all executors hand them on, and how often a log is asked for more."""

from itertools import pairwise

from runmesh.platforms.lines import TAIL, TAIL_COLUMNS, pieces, tail
from runmesh.platforms.turns import ENDED, FIRST_PAUSE, LIVELY, SILENT, longer, urgency


def test_the_tail_is_the_last_lines_and_none_is_wide() -> None:
    assert tail(f"{number}" for number in range(TAIL + 2)) == tuple(f"{number}" for number in range(2, TAIL + 2))
    assert tail(["x" * (TAIL_COLUMNS + 1)]) == ("x" * TAIL_COLUMNS,)
    assert tail([]) == ()


def test_an_overlong_line_comes_in_pieces_and_an_empty_one_stays() -> None:
    long = "x" * 100_000
    first, *others = pieces(["", long, "end"])
    assert (first, others[-1]) == ("", "end")
    assert "".join(others[:-1]) == long
    assert max(map(len, others)) < 40_000


def test_a_silent_log_is_asked_less_and_less_often_but_never_forgotten() -> None:
    pauses = [FIRST_PAUSE]
    while len(pauses) < 20:
        pauses.append(longer(pauses[-1]))
    assert longer(0) == FIRST_PAUSE
    assert all(before < after or after == 30 for before, after in pairwise(pauses))
    assert pauses[-1] == 30


def test_the_end_comes_before_what_is_lively_and_silence_last() -> None:
    assert urgency(30, ended=True) == ENDED
    assert urgency(0, ended=False) == LIVELY
    assert urgency(30, ended=False) == SILENT
    assert ENDED < LIVELY < SILENT

"""A log that is read over connections that break anywhere: every line once, in order."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runmesh.executors.kubernetes.lines import LONGEST_LINE, Piece, Place, Splitter

SECONDS = [f"2026-11-22T20:00:{second:02}" for second in range(60)]
Line = tuple[int, str]
"""The second in which it was written, and its text."""

texts = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)
steps = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from([0, 0, 0, 1]), texts), max_size=20)


def log_of(steps: Sequence[tuple[int, int, str]]) -> list[Line]:
    """Return a log in which time goes on, but for lines of another stream that come a second late."""
    latest, log = 1, []
    for forward, late, text in steps:
        latest += forward
        log.append((latest - late, text))
    return log


def stored(log: Sequence[Line], since: str | None) -> bytes:
    """Return what the API answers: the lines from a second on, each with its time."""
    wanted = [(SECONDS[second], text) for second, text in log if since is None or f"{SECONDS[second]}Z" >= since]
    return b"".join(f"{second}.{number:09}Z {text}\n".encode() for number, (second, text) in enumerate(wanted))


def read(place: Place, answer: bytes, cuts: Sequence[int], until: int) -> Iterator[Piece]:
    """Read an answer in pieces, until its connection breaks."""
    split, place_of_cuts = Splitter(), sorted({0, until, *(cut for cut in cuts if cut < until)})
    place.reopen()
    for start, end in pairwise(place_of_cuts):
        yield from filter(place.is_new, split.feed(answer[start:end]))


@given(steps.map(log_of), st.lists(st.tuples(st.floats(0, 1), st.lists(st.integers(0, 400))), max_size=5), st.data())
def test_no_line_is_lost_or_doubled_however_often_the_connection_breaks(
    log: list[Line], breaks: list[tuple[float, list[int]]], data: st.DataObject
) -> None:
    place, written = Place(), 0
    found: list[Piece] = []
    for share, cuts in [*breaks, (1.0, [])]:
        written = data.draw(st.integers(written, len(log))) if share < 1.0 else len(log)  # it grows meanwhile
        answer = stored(log[:written], place.since)
        found += read(place, answer, cuts, int(len(answer) * share))
    assert [piece.text for piece in found] == [text for _, text in log]
    assert sum(piece.size for piece in found) == sum(len(text.encode()) + 1 for _, text in log)


@given(st.integers(LONGEST_LINE - 2, 3 * LONGEST_LINE), st.sampled_from(["x", "ü", "🌊"]), st.integers(1_000, 50_000))
def test_an_overlong_line_comes_in_the_same_parts_however_it_arrives(size: int, letter: str, step: int) -> None:
    text = letter * (size // len(letter.encode()))
    answer = f"{SECONDS[0]}.5Z {text}\n{SECONDS[1]}Z next\n".encode()

    def parts(step: int) -> list[Piece]:
        split = Splitter()
        return [piece for at in range(0, len(answer), step) for piece in split.feed(answer[at : at + step])]

    found = parts(step)
    assert found == parts(len(answer))
    assert "".join(piece.text for piece in found[:-1]) == text
    assert {piece.second for piece in found[:-1]} == {SECONDS[0]}
    assert all(len(piece.text.encode()) <= LONGEST_LINE for piece in found)


def test_a_last_line_without_a_newline_is_a_line_once_nothing_follows() -> None:
    split = Splitter()
    assert list(split.feed(f"{SECONDS[0]}Z last".encode())) == []
    assert list(split.rest()) == [Piece(SECONDS[0], 4, "last")]
    assert list(split.rest()) == []


def test_what_was_rotated_away_is_not_waited_for() -> None:
    place = Place()
    assert all(place.is_new(Piece(SECONDS[1], 1, str(number))) for number in range(3))
    place.reopen()
    assert [place.is_new(Piece(SECONDS[1], 1, "2")), place.is_new(Piece(SECONDS[3], 1, "3"))] == [False, True]

"""A log of which only the end can be read: whatever is asked when, each line comes once, and in order."""

from hypothesis import given
from hypothesis import strategies as st

from runmesh.executors.azure.tail import FEWEST, MOST, Tail


def stamp(second: int) -> str:
    return f"2026-11-22T10:{second // 60:02}:{second % 60:02}.5Z"


def content(lines: list[tuple[str, str]], tail: int | None) -> str:
    kept = lines if tail is None else lines[-tail:]
    return "".join(f"{at} {text}\n" for at, text in kept)


def read(place: Tail, lines: list[tuple[str, str]]) -> list[str]:
    while (new := place.new(content(lines, place.lines))) is None:
        pass
    return new


@given(
    steps=st.lists(st.integers(0, 1), max_size=60),
    reads=st.lists(st.integers(0, 60), max_size=12),
    fewest=st.sampled_from([1, 2, 3, 7]),
)
def test_every_line_comes_once_and_in_order_however_many_share_a_time(
    steps: list[int], reads: list[int], fewest: int
) -> None:
    lines, second = [], 0
    for number, step in enumerate(steps):
        second += step
        lines.append((stamp(second), f"line {number}"))
    place, found = Tail(), []
    for there in sorted(reads):
        found += read(place, lines[:there])
        place.lines = fewest  # shorter than any that would do by itself
    found += read(place, lines)
    assert found == [text for _, text in lines]


def test_the_next_read_is_as_long_as_the_pace_of_the_last() -> None:
    lines = [(stamp(0), f"{number}") for number in range(1000)]
    place = Tail()
    read(place, lines)
    assert place.lines == 4000
    read(place, lines)
    assert place.lines == FEWEST


def test_a_gap_asks_for_more_and_in_the_end_for_all() -> None:
    place = Tail(lines=FEWEST, last=stamp(0), count=1)
    asked = []
    while place.lines:
        assert place.new(content([(stamp(9), "x")] * 2 * MOST, place.lines)) is None
        asked.append(place.lines)
    assert asked == [800, 3200, 12800, None]


def test_what_azure_has_dropped_is_passed_over() -> None:
    place = Tail(lines=None, last=stamp(5), count=3)
    assert place.new(content([(stamp(7), "a"), (stamp(8), "b")], None)) == ["a", "b"]
    assert place.new("") == []


def test_a_line_without_a_time_belongs_to_the_one_before() -> None:
    place = Tail()
    assert place.new(f"{stamp(1)} first\nand more\n{stamp(2)} \n") == ["first", "and more", ""]
    assert (place.last, place.count) == ("2026-11-22T10:00:02.500000000", 1)


def test_lines_whose_times_are_not_in_order_come_once() -> None:
    lines = [(stamp(second), f"{number}") for number, second in enumerate((5, 6, 5, 7, 6, 6, 8, 7))]
    place, found = Tail(), []
    for there in range(1, len(lines) + 1):
        found += read(place, lines[:there])
        place.lines = 2
    assert found == [text for _, text in lines]


def test_a_fraction_of_a_second_is_as_long_as_it_is_written() -> None:
    place = Tail()
    place.new("2026-11-22T10:00:00.5Z old\n")
    place.lines = None
    assert place.new("2026-11-22T10:00:00.51Z new\n2026-11-22T10:00:01Z last\n") == ["new", "last"]

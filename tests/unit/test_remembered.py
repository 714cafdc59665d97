"""What is remembered, and what is forgotten first."""

from hypothesis import given
from hypothesis import strategies as st

from runmesh.resolver.remembered import Part, Remembered


def parts(value: dict[str, int]) -> list[Part]:
    return list(value.items())


def test_what_was_used_least_recently_goes_first() -> None:
    memory = Remembered(parts, most=2, most_bytes=100)
    for name in ("a", "b"):
        memory.put(name, {name: 1})
    memory.get("a")
    memory.put("c", {"c": 1})
    assert [name for name in "abc" if name in memory] == ["a", "c"]


def test_large_values_go_although_they_are_few() -> None:
    memory = Remembered(parts, most=100, most_bytes=10)
    for name in ("a", "b", "c"):
        memory.put(name, {name: 5})
    assert [name for name in "abc" if name in memory] == ["b", "c"]


def test_one_that_is_too_large_is_remembered_alone() -> None:
    memory = Remembered(parts, most=100, most_bytes=10)
    memory.put("a", {"a": 1})
    memory.put("b", {"b": 50})
    assert (len(memory), memory.get("b")) == (1, {"b": 50})


def test_what_several_share_is_counted_once_until_the_last_one_goes() -> None:
    memory = Remembered(parts, most=100, most_bytes=10)
    for name in ("a", "b", "c"):
        memory.put(name, {"plan": 5, name: 1})
    assert memory.bytes == 8
    for name in ("a", "b", "c"):
        memory.forget(name)
    assert memory.bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.dictionaries(st.sampled_from("xyz"), st.just(3)), st.booleans()))
)
def test_the_sum_is_that_of_what_is_there(steps: list[tuple[str, dict[str, int], bool]]) -> None:
    memory = Remembered(parts, most=4, most_bytes=7)
    for name, value, put in steps:
        if put:
            memory.put(name, value)
        else:
            memory.forget(name)
        shared = {part for key in "abcdef" for part in memory.get(key) or ()}
        assert memory.bytes == 3 * len(shared)
        assert len(memory) <= 4

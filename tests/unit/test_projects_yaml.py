"""YAML that strangers wrote."""

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from runmesh.errors import Invalid
from runmesh.projects.yaml_text import DEEPEST, parse

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=4),
    max_leaves=12,
)


def laughs(levels: int) -> str:
    lines = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def nested_aliases(levels: int) -> str:
    lines = ["- &a0 " + "[" * 40 + "]" * 40]
    lines += [f"- &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# only a comment", None),
        ("a: 1\nb: [x, 2.5, true, null, '1']", {"a": 1, "b": ["x", 2.5, True, None, "1"]}),
        ("ON: 1\n1: 2\nnull: 3", {"ON": 1, "1": 2, "null": 3}),
        ("day: 2024-01-31", {"day": date(2024, 1, 31)}),
        ("long: " + "9" * 200, {"long": "9" * 200}),
        ("base: &b {x: 1, y: 2}\nnew: {<<: *b, y: 3}", {"base": {"x": 1, "y": 2}, "new": {"x": 1, "y": 3}}),
        ("new: {<<: [{x: 1}, {x: 2, y: 2}]}", {"new": {"x": 1, "y": 2}}),
        ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
        ("'<<': {a: 1}", {"<<": {"a": 1}}),
        ("a: !!str 5", {"a": "5"}),
    ],
)
def test_reads_what_mage_writes(text: str, expected: Any) -> None:
    assert parse(text, "f") == expected


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f:3", "the key 'a' is there twice"),
        ("a: !!python/object:os.system x", "f:1", "not allowed"),
        ("\na: !secret x", "f:2", "the tag !secret is not allowed"),
        ("? !secret a\n: 1", "f:1", "plain text"),
        ("? [a, b]\n: 1", "f:1", "a key must be plain text"),
        ("a: *nobody", "f:1", "no anchor before it"),
        ("a: &a [*a]", "f:1", "no anchor before it"),
        ("a: 2024-13-45", "f:1", "no valid value"),
        ("a: !!int five", "f:1", "no valid value"),
        ("a: {<<: 5}", "f:1", "only mappings"),
        ("---\na: 1\n---\nb: 1", "f:3", "a second document"),
        ("a: 'open", "f:1", "is no YAML"),
        ("a: b: c", "f:1", "is no YAML"),
        ('a: "\\0"', "f:1", "NUL"),
        ("a: \0", "f", "is no YAML"),
        ("[" * 100_000, "f:1", "deeper than"),
        ("- " * 100_000, "f:1", "deeper than"),
        (laughs(9), "f:6", "once its aliases are written out"),
        (nested_aliases(3), "f:3", "deeper than"),
        ("a: " + "x" * 1_000_000, "f", "larger than"),
    ],
)
def test_refuses(text: str, place: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refused:
        parse(text, "f")
    assert refused.value.problems[0].path == place


def test_a_long_text_behind_many_aliases_counts_each_time() -> None:
    text = "a: &a " + "x" * 500_000 + "\nb: [" + "*a," * 10 + "]"
    with pytest.raises(Invalid, match="once its aliases"):
        parse(text, "f")


def test_the_deepest_document_is_read() -> None:
    assert parse("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "f")


@given(json_like)
def test_gives_back_any_plain_data(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse(text, "f") == yaml.safe_load(text)  # which is not the value where that holds U+0085


@given(st.text() | st.text(alphabet="abc:-[]{}&*!?|>'\"#%@,<\n \t019.", max_size=200))
@example("&")
@example("a: !<> b")
@example("%TAG ! tag:x,2000:\n--- !a b")
@example("{a, b: &x , *x }")
def test_raises_nothing_but_invalid(text: str) -> None:
    try:
        parse(text, "f")
    except Invalid as error:
        assert error.problems[0].path.startswith("f")  # noqa: PT017 - both outcomes are right

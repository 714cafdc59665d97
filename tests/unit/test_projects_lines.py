"""On which line something stands."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runmesh.projects.lines import Found, Lines, kept_lines, lines_of_template

DOCUMENT = """\
name: orders
retry_config: {delay: soon}
blocks:
- type: data_loader
  uuid: load
  executor_config:
    container:
      env:
      - name: A
      - name: B
- uuid: load.v2
  timeout: 5
- {uuid: "a: b", timeout: 6}
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", Found(1, "")),
        ("name", Found(1, "")),
        ("retry_config.delay", Found(2, "")),
        ("retry_config: delay", Found(2, "")),
        ("blocks", Found(3, "")),
        ("blocks[0]", Found(4, "")),
        ("blocks[0].uuid", Found(5, "")),
        ("blocks.load.executor_config.container.env.1.name", Found(10, "")),
        ("blocks.load: executor_config.container.env[0]", Found(9, "")),
        ("blocks.load.v2.timeout", Found(12, "")),
        ("blocks.a: b: timeout", Found(13, "")),
        ("blocks.load.executor_config.namespace", Found(6, "namespace")),
        ("blocks[7].uuid", Found(3, "[7].uuid")),
        ("blocks.lo.executor_config", Found(3, "lo.executor_config")),
        ("nam", Found(1, "nam")),
        ("name:1", Found(1, "1")),
    ],
)
def test_a_path_is_followed_as_far_as_it_is_there(path: str, found: Found) -> None:
    assert Lines(DOCUMENT).find(path) == found


@pytest.mark.parametrize(
    "text", ["a: [1\nb: 2\n", "a: &x 1\nb: &x 2\n", "a: !secret x\nb: 2\n", "a: 1\nb: " + "[" * 10_000]
)
def test_of_a_document_that_is_no_yaml_the_top_level_is_known(text: str) -> None:
    assert Lines(text).find("b.c") == Found(2, "c")


def test_lines_of_a_template_are_those_of_its_text() -> None:
    written = "{% if true %}\na: {x: 1}\n{% endif %}\nb: {{ 1 }}\nc:\n  d: 1\n"
    shorter = "a: {x: 1}\nb: 1\nc:\n  d: 1\n"
    assert lines_of_template(written, "\na: {x: 1}\n\nb: 1\nc:\n  d: 1\n").find("c.d") == Found(6, "")
    assert not kept_lines(written, shorter)
    assert lines_of_template(written, shorter).find("c.d") == Found(5, "d")


json_like = st.recursive(
    st.none() | st.integers() | st.text("ab.:[]0 "),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.:[]0 "), inner, max_size=4),
    max_leaves=12,
)


@given(json_like, st.text("ab.:[]0 ", max_size=20))
def test_every_path_has_a_line_of_the_document(value: Any, path: str) -> None:
    text = yaml.safe_dump(value)
    assert 1 <= Lines(text).find(path).line <= text.count("\n") + 1


@given(st.dictionaries(st.text("ab_", min_size=1), st.dictionaries(st.text("ab_", min_size=1), st.integers())))
def test_every_key_is_found_on_its_line(value: dict[str, dict[str, int]]) -> None:
    lines, text = Lines(yaml.safe_dump(value)), yaml.safe_dump(value).splitlines()
    for key, inner in value.items():
        for name in inner:
            found = lines.find(f"{key}.{name}")
            assert not found.rest
            assert text[found.line - 1].strip().startswith(f"{name}:")


@given(st.text() | st.text(alphabet="abc:-[]{}&*!?|>'\"#%@,<\n \t", max_size=200), st.text())
def test_raises_for_no_text(text: str, path: str) -> None:
    assert Lines(text).find(path).line >= 1

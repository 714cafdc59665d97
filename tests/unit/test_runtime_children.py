"""How a dynamic block's result becomes children, and which results are refused (mage.md §6.8)."""

from typing import Any

import pandas as pd
import polars as pl
import pytest

from runmesh.projects import Block
from runmesh.runtime.children import fan_out
from runmesh.runtime.failed import Failed
from runmesh.runtime.steps import Step

STEP = Step(Block("p", "custom", configuration={"dynamic": True}))


@pytest.mark.parametrize(
    ("outputs", "children"),
    [
        ([["a", "b", "c"]], {"count": 3}),
        ([[]], {"count": 0}),
        ([["a", "b"], [{}, {"x": 1}]], {"count": 2}),
        ([["a", "b"], [{"block_uuid": "one"}, {"block_uuid": 2}]], {"count": 2, "names": ["one", "2"]}),
        ([["a", "b", "c"], [{}, {"block_uuid": "b"}]], {"count": 3, "names": ["0", "b", "2"]}),
        ([["a"], [{}, {"block_uuid": "unused"}]], {"count": 1}),
        ([["a"], {"block_uuid": "for all"}], {"count": 1}),
        ([("a", "b")], {"count": 2}),
        ([pd.DataFrame({"n": [1, 2]})], {"count": 2}),
        ([pd.Series([1, 2, 3])], {"count": 3}),
        ([pl.DataFrame({"n": [1, 2]})], {"count": 2}),
    ],
)
def test_a_dynamic_block_has_a_child_per_item(outputs: list[Any], children: dict[str, Any]) -> None:
    assert fan_out(STEP, outputs) == children


def test_a_dynamic_block_that_returns_nothing_has_no_children_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert fan_out(STEP, []) == {"count": 0}
    assert "block 'p' is dynamic, and returned nothing" in capsys.readouterr().err


@pytest.mark.parametrize(("items", "kind"), [("text", "str"), ({"a": 1}, "dict"), (5, "int"), (None, "NoneType")])
def test_a_dynamic_block_whose_output_is_no_list_has_failed(items: Any, kind: str) -> None:
    with pytest.raises(Failed, match=f"block 'p' is dynamic: it must return a list of items, not {kind}"):
        fan_out(STEP, [items])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "two children are called 'a'"),
        ([None, "0"], "two children are called '0'"),
        (["x" * 101], "is no name of 1 to 100 printable characters"),
        (["a\nb"], "is no name of 1 to 100 printable characters"),
        ([f"{number:0100}" for number in range(5001)], "names take 500,100 bytes, the most is 500,000"),
    ],
)
def test_names_that_children_cannot_have_are_a_failure(names: list[str | None], message: str) -> None:
    with pytest.raises(Failed, match=message):
        fan_out(STEP, [["x"] * len(names), [{"block_uuid": name} for name in names]])

"""What a block gets from the blocks above it, of dynamic ones and their children too (mage.md §6.3 and §6.8)."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from runmesh.errors import Invalid
from runmesh.projects import Block
from runmesh.runtime.inputs import Inputs, gather
from runmesh.runtime.kept import Kept
from runmesh.runtime.outputs import Outputs
from runmesh.runtime.steps import Part, Step

UP = Block("up", "custom", configuration={"dynamic": True})


@pytest.fixture(params=["stored", "remote", "kept"])
def outputs(request: pytest.FixtureRequest, tmp_path: Path) -> Outputs | Kept:
    place = f"memory://inputs/{tmp_path.name}" if request.param == "remote" else str(tmp_path)
    stored = Outputs(place, "p", "r")
    return Kept(stored, everything=True) if request.param == "kept" else stored


def given(outputs: Outputs | Kept, part: Part | None = None) -> Inputs:
    block = Block("b", "custom", upstream_blocks=("up",))
    return gather(Step(block, 0, (part,) if part else ()), {"up": UP}, outputs)


def test_there_is_one_argument_per_upstream_block_in_the_order_of_the_document(outputs: Outputs | Kept) -> None:
    blocks = {name: Block(name, "custom") for name in ("x", "y", "z")}
    for name, values in (("x", [1]), ("y", [2, 3]), ("z", [])):
        outputs.write(blocks[name], values)
    step = Step(Block("b", "custom", upstream_blocks=("y", "x", "z")))
    assert gather(step, blocks, outputs) == ([[2, 3], 1, []], {})


def test_an_item_of_a_dynamic_block_comes_with_its_metadata_as_keywords(outputs: Outputs | Kept) -> None:
    outputs.write(UP, [["a", "b"], [{"block_uuid": "one"}, {"x": 2}]])
    assert given(outputs, Part(item=1)) == (["b"], {"x": 2})
    assert given(outputs, Part(item=0)) == (["a"], {"block_uuid": "one"})


@pytest.mark.parametrize("metadata", [[], [[]], [None], [["text", 5]], [[{"x": 1}]]])
def test_an_item_without_metadata_has_no_keywords(metadata: list[Any], outputs: Outputs | Kept) -> None:
    outputs.write(UP, [["a", "b"], *metadata])
    assert given(outputs, Part(item=1)) == (["b"], {})


def test_an_item_of_a_data_frame_is_a_row(outputs: Outputs | Kept) -> None:
    outputs.write(UP, [pd.DataFrame({"n": [1, 2], "s": ["x", "y"]})])
    (row,) = given(outputs, Part(item=1))[0]
    assert isinstance(row, pd.Series)
    assert row.to_dict() == {"n": 2, "s": "y"}


def test_an_item_of_a_childs_data_frame_is_a_frame_of_one_row(outputs: Outputs | Kept) -> None:
    outputs.write(UP, [pd.DataFrame({"n": [1, 2]})], 3)
    (frame,) = given(outputs, Part(3, 1))[0]
    assert frame.n.tolist() == [2]


def test_items_may_be_a_series_or_a_polars_frame(outputs: Outputs | Kept) -> None:
    outputs.write(UP, [pd.Series([5, 6])])
    assert given(outputs, Part(item=1))[0] == [6]
    outputs.write(UP, [pl.DataFrame({"n": [1, 2]})])
    assert given(outputs, Part(item=1))[0][0].rows() == [(2,)]


def test_an_item_that_is_not_there_names_block_and_count(outputs: Outputs | Kept) -> None:
    outputs.write(UP, [["a"]])
    with pytest.raises(Invalid, match="upstream block up: there is no item 1, it has 1"):
        given(outputs, Part(item=1))


def test_a_child_of_a_child_gets_that_childs_output(outputs: Outputs | Kept) -> None:
    for child, value in enumerate(["a", "b"]):
        outputs.write(UP, [value], child)
    assert given(outputs, Part(child=1)) == (["b"], {})


def test_the_second_of_two_outputs_of_a_child_is_metadata(outputs: Outputs | Kept) -> None:
    outputs.write(UP, ["a", {"x": 1}], 0)
    assert given(outputs, Part(child=0)) == ([["a", {"x": 1}]], {"x": 1})
    outputs.write(UP, ["a", "b"], 0)
    assert given(outputs, Part(child=0)) == ([["a", "b"]], {})
    outputs.write(UP, ["a", {"x": 1}, 3], 0)
    assert given(outputs, Part(child=0)) == ([["a", {"x": 1}, 3]], {})


@pytest.mark.parametrize(
    ("children", "reduced", "keywords"),
    [
        ([["a"], ["b"]], ["a", "b"], {}),
        ([[{"v": 1}], [{"v": 2}]], [{"v": 1}, {"v": 2}], {}),
        ([[["a", "l"]], [["b", "l"]]], ["a", "l", "b", "l"], {}),
        ([["a", 2, 3], ["b", 2, 3]], ["a", 2, 3, "b", 2, 3], {}),
        ([["a", {"x": 1}], ["b", {"x": 2}]], [["a", {"x": 1}], ["b", {"x": 2}]], {"x": 2}),
        ([[], []], [None, None], {}),
        ([], [], {}),
    ],
)
def test_a_reduced_input_is_one_list_with_the_lists_of_children_joined_on(
    children: list[list[Any]], reduced: list[Any], keywords: dict[str, Any], outputs: Outputs | Kept
) -> None:
    for child, values in enumerate(children):
        outputs.write(UP, values, child)
    assert given(outputs, Part(children=len(children))) == ([reduced], keywords)


def test_reduced_data_frames_are_a_list_of_data_frames(outputs: Outputs | Kept) -> None:
    for child in (0, 1):
        outputs.write(UP, [pd.DataFrame({"n": [child]})], child)
    (frames,) = given(outputs, Part(children=2))[0]
    assert [frame.n.tolist() for frame in frames] == [[0], [1]]


def test_a_reduced_input_whose_child_is_missing_names_its_place(outputs: Outputs | Kept) -> None:
    outputs.write(UP, ["a"], 0)
    with pytest.raises(Invalid, match=r"upstream block up: it has no outputs at .*up/1"):
        given(outputs, Part(children=2))


def test_children_are_stored_by_their_index_and_read_in_its_order(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path), "p", None)
    for child in range(12):
        outputs.write(UP, [child], child)
    assert given(outputs, Part(children=12))[0] == [list(range(12))]
    assert (tmp_path / "pipelines/p/.variables/up/11/output_0/data.json").read_text() == "11"

"""`--dynamic-index`: which child of a dynamic block a command runs, and what it gets."""

import pytest

from runmesh.errors import Invalid
from runmesh.projects import Block
from runmesh.runtime.steps import Part, Step, read_step

ALONE = Block("c", "custom")


@pytest.mark.parametrize(
    ("kinds", "text", "step"),
    [
        (["items"], "7:7", Step(ALONE, 7, (Part(item=7),))),
        (["each"], "7:2", Step(ALONE, 7, (Part(child=2),))),
        (["items", "whole", "items_of_each"], "3:0,-,1.2", Step(ALONE, 3, (Part(item=0), Part(), Part(1, 2)))),
        (["all"], "-:*10000", Step(ALONE, None, (Part(children=10000),))),
        (["all", "items"], "0:*0,0", Step(ALONE, 0, (Part(children=0), Part(item=0)))),
        (["whole"], None, Step(ALONE)),
        (["whole", "whole"], "-:-,-", Step(ALONE)),
        ([], None, Step(ALONE)),
    ],
)
def test_a_step_has_a_part_for_each_upstream_block(kinds: list[str], text: str | None, step: Step) -> None:
    assert read_step(ALONE, kinds, text) == step


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        (["items"], None), (["all"], None), (["items"], ""), (["items"], "7"), (["items"], "7:"), (["items"], "7:7,7"),
        (["items"], "x:7"), (["items"], "7:-"), (["items"], "7:1.2"), (["items"], "7:-1"), (["items"], "7:٣"),
        (["each"], "7:*3"), (["items_of_each"], "7:3"), (["all"], "-:3"), (["whole"], "-:3"),
        (["items"], "7:9999999999"), ([], "7:7"), (["items"], "-:3"), (["all"], "0:*3"), (["whole"], "0:-"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_block_is_one_clear_problem(kinds: list[str], text: str | None) -> None:
    with pytest.raises(Invalid, match="--dynamic-index"):
        read_step(ALONE, kinds, text)


def test_a_child_is_called_by_its_index() -> None:
    assert (Step(ALONE, 7).name, Step(ALONE).name) == ("c:7", "c")

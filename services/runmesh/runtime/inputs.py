"""What a block's function gets from the blocks above it: one value for each, and keywords from dynamic ones.

As Mage: a dynamic block's items are its first output, its second one is their metadata, of which the item's own is
merged into the keywords; likewise the second output of a child that has two, if it is a mapping. A reduced input is
one list of what all children put out, where a child's list is joined on.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block
from runmesh.runtime.outputs import Outputs, single
from runmesh.runtime.steps import Part, Step

if TYPE_CHECKING:
    from runmesh.runtime.kept import Kept

Inputs = tuple[list[Any], dict[str, Any]]


def gather(step: Step, blocks: Mapping[str, Block], outputs: "Outputs | Kept") -> Inputs:
    """Read all inputs of a step: positional ones, in the order of its upstream blocks, and keywords.

    Raises as `Outputs.values`.
    """
    positional: list[Any] = []
    merged: dict[str, Any] = {}
    upstream = [blocks[uuid] for uuid in step.block.upstream_blocks]
    for block, part in zip(upstream, step.parts or [Part()] * len(upstream), strict=True):
        value, keywords = _input(block, part, outputs)
        positional.append(value)
        merged.update(keywords)
    return positional, merged


def _input(block: Block, part: Part, outputs: "Outputs | Kept") -> tuple[Any, Mapping[str, Any]]:
    if part.children is not None:
        return _reduced(outputs.children(block, part.children))
    if block.type == "command" or (block.type == "sensor" and part == Part()):
        return [], {}
    values = outputs.values(block, part.child)
    if part.item is not None:
        return _item(block, values, part.item, of_child=part.child is not None)
    return single(values), {} if part.child is None else _second(values)


def _reduced(children: list[list[Any]]) -> tuple[list[Any], Mapping[str, Any]]:
    joined: list[Any] = []
    keywords: dict[str, Any] = {}
    for values in children:
        value, own = single(values) if values else None, _second(values)
        keywords.update(own)
        if isinstance(value, list) and not own:
            joined += value
        else:
            joined.append(value)
    return joined, keywords


def _second(values: list[Any]) -> Mapping[str, Any]:
    return values[1] if len(values) == 2 and isinstance(values[1], dict) else {}  # noqa: PLR2004 - value and metadata


def _item(block: Block, values: list[Any], number: int, *, of_child: bool) -> tuple[Any, Mapping[str, Any]]:
    items, metadata = (*values, None, None)[:2]
    count = 0 if items is None else len(items)
    if number >= count:
        raise Invalid(Problem(f"upstream block {block.uuid}", f"there is no item {number}, it has {count}"))
    own = metadata[number] if isinstance(metadata, list) and number < len(metadata) else metadata
    return _nth(items, number, as_frame=of_child), own if isinstance(own, dict) else {}


def _nth(items: Any, number: int, *, as_frame: bool) -> Any:
    """Return one item; of a DataFrame a row, which Mage gives as a Series, or as a frame of one row (of a child)."""
    rows = getattr(items, "iloc", None)
    if rows is None:
        return items[number]
    return rows[number : number + 1] if as_frame and items.ndim > 1 else rows[number]

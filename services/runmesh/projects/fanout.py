"""Dynamic blocks: which blocks fan out, and which part of its upstream blocks' outputs each child gets.

The rules are those of Mage's dynamic blocks (v1, and v2's words for the same): a *dynamic* block returns a list of
items; the blocks below it, and below those, are its *children*, each run once per item, until a block *reduces* its
output. A block with several such upstream blocks runs once for every combination.

A block's children have flat indexes 0, 1, …. Child i stands at position ``(i // step) % factor`` in each upstream,
whose factor is the number of parts that it has, and whose step is the product of the factors after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from math import prod
from typing import Final, NamedTuple

from runmesh.projects.model import Block, Pipeline


class Kind(StrEnum):
    """What a block gets of one upstream block."""

    WHOLE = "whole"
    """All of its output."""
    ITEMS = "items"
    """One item of a dynamic block's list."""
    EACH = "each"
    """One child's output."""
    ITEMS_OF_EACH = "items_of_each"
    """One item of one child's list: the upstream is a child, and dynamic itself."""
    ALL = "all"
    """The list of all children's outputs."""


_GATHERS: Final = "reduce_output_upstream"
PARTED: Final = frozenset({Kind.ITEMS, Kind.EACH, Kind.ITEMS_OF_EACH})
"""The kinds that make a block a child."""


class Role(NamedTuple):
    """What a block's own configuration says."""

    dynamic: bool = False
    reduces: bool = False
    """The blocks below it get the outputs of all its children as one list."""
    gathers: bool = False
    """It gets the outputs of all children above it as lists (v2: `reduce_output_upstream`)."""


def role(block: Block) -> Role:
    """Read `configuration.dynamic` and `reduce_output`; as in Mage, only a real `true` counts."""
    dynamic = block.configuration.get("dynamic")
    if isinstance(dynamic, Mapping):
        parent, reduces, gathers = (dynamic.get(key) is True for key in ("parent", "reduce_output", _GATHERS))
        return Role(parent, reduces, gathers)
    return Role(dynamic is True, block.configuration.get("reduce_output") is True)


def kinds(pipeline: Pipeline, order: Sequence[str]) -> dict[str, tuple[Kind, ...]]:
    """Return, for every block, the kind of each of its upstream blocks; `order` has upstream blocks first."""
    roles = {uuid: role(block) for uuid, block in pipeline.blocks.items()}
    found: dict[str, tuple[Kind, ...]] = {}
    for uuid in order:
        above = pipeline.blocks[uuid].upstream_blocks
        found[uuid] = tuple(_kind(roles[name], roles[uuid], child=is_child(found.get(name, ()))) for name in above)
    return found


def _kind(above: Role, own: Role, *, child: bool) -> Kind:
    if child and (above.reduces or own.gathers):
        return Kind.ALL
    if child:
        return Kind.ITEMS_OF_EACH if above.dynamic else Kind.EACH
    return Kind.ITEMS if above.dynamic and not above.reduces else Kind.WHOLE


def is_child(block: Sequence[Kind]) -> bool:
    """Say whether a block with these kinds of upstream blocks runs once per item."""
    return not PARTED.isdisjoint(block)


def width(factors: Sequence[int]) -> int:
    """Return how many children there are."""
    return prod(factors)


def steps(factors: Sequence[int]) -> tuple[int, ...]:
    """Return for each upstream block after how many children its position moves on."""
    return tuple(accumulate(reversed(factors[1:]), lambda product, factor: product * factor, initial=1))[::-1]


def positions(index: int, factors: Sequence[int]) -> tuple[int, ...]:
    """Return where child `index` stands in each upstream block."""
    return tuple(index // step % factor for step, factor in zip(steps(factors), factors, strict=True))


def item_of(position: int, counts: Iterable[int]) -> tuple[int, int]:
    """Return the child, and the item of it, at a position in the items of all children, one child after another."""
    for child, count in enumerate(counts):
        if position < count:
            return child, position
        position -= count
    raise IndexError(position)

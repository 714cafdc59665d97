"""One run of a block: the block itself, or one of the children that a dynamic block above it makes.

``--dynamic-index INDEX:POS,POS,…`` says which child, and which part of each upstream block's outputs it gets, in the
order of `upstream_blocks`; INDEX is ``-`` for a block that is no child, but gets the outputs of all children above it.

========  =============  ==============================================================
POS       kind           the part
========  =============  ==============================================================
``-``     whole          all outputs
``N``     items          item N of a dynamic block
``N``     each           the outputs of child N
``N.M``   items_of_each  item M of child N, which is dynamic itself
``*N``    all            the list of the outputs of all N children
========  =============  ==============================================================
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block


class Part(NamedTuple):
    """Which part of an upstream block's outputs a step gets: all of them, unless something is said."""

    child: int | None = None
    item: int | None = None
    children: int | None = None
    """The list of what so many children put out."""


class Step(NamedTuple):
    """A block that is to run; `child` is its index among the children of its block."""

    block: Block
    child: int | None = None
    parts: tuple[Part, ...] = ()
    """By upstream block; none: all of all."""

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.block.uuid if self.child is None else f"{self.block.uuid}:{self.child}"


_NUMBER: Final = "([0-9]{1,9})"
_FORMS: Final = {
    "whole": "-",
    "items": _NUMBER,
    "each": _NUMBER,
    "items_of_each": rf"{_NUMBER}\.{_NUMBER}",
    "all": rf"\*{_NUMBER}",
}
_OF_CHILDREN: Final = frozenset({"items", "each", "items_of_each"})


def read_step(block: Block, kinds: Sequence[str], text: str | None) -> Step:
    """Read the flag for a block whose upstream blocks are of these kinds; raises `Invalid` where it doesn't fit."""
    needed = any(kind != "whole" for kind in kinds)
    if text is None and needed:
        raise _wrong(f"block {block.uuid} is below a dynamic block: say which child it is, or how many there are")
    if text is None:
        return Step(block)
    index, _, rest = text.partition(":")
    parts = rest.split(",") if rest else []
    is_child = not _OF_CHILDREN.isdisjoint(kinds)
    if not re.fullmatch(_NUMBER if is_child else "-", index) or len(parts) != len(kinds):
        raise _wrong(f"{text[:200]!r} is no INDEX:POS,… with {len(kinds)} positions, as block {block.uuid} has inputs")
    found = tuple(_part(kind, part) for kind, part in zip(kinds, parts, strict=True))
    return Step(block, None if index == "-" else int(index), found if needed else ())


def _part(kind: str, text: str) -> Part:
    match = re.fullmatch(_FORMS[kind], text)
    if match is None:
        raise _wrong(f"{text[:200]!r} is no position in an input of kind {kind}")
    numbers = [int(number) for number in match.groups()]
    match kind:
        case "items":
            return Part(item=numbers[0])
        case "each":
            return Part(child=numbers[0])
        case "items_of_each":
            return Part(child=numbers[0], item=numbers[1])
        case "all":
            return Part(children=numbers[0])
    return Part()


def _wrong(message: str) -> Invalid:
    return Invalid(Problem("--dynamic-index", message))

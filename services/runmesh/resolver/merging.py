"""Merging configuration level by level, without losing where each value came from.

A level's configuration becomes a tree whose leaves remember their `Origin`. Trees are merged deeply: mappings key by
key, anything else (lists too) is replaced by the later level. An explicit null unsets what the levels before it said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self, TypeAlias


class Origin(str):
    """A level's name, such as ``project``; also where a value is written, if the level doesn't say that."""

    __slots__ = ("place",)
    place: str | None

    def __new__(cls, level: str, place: str | None = None) -> Self:
        """Name a level, and a place: a variable of the environment, say."""
        origin = super().__new__(cls, level)
        origin.place = place
        return origin


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is no mapping, and the level that said it."""

    value: Any
    origin: Origin


Tree: TypeAlias = dict[str, "Tree | Leaf"]


def tree(config: Mapping[Any, Any], origin: Origin) -> Tree:
    """Turn one level's configuration into a tree; keys become text and dates ISO text, as JSON has them."""
    return {str(key): _node(value, origin) for key, value in config.items()}


def _node(value: Any, origin: Origin) -> Tree | Leaf:
    # Scalars first: asking whether something is a Mapping is slow.
    if value is None or isinstance(value, str | int | float):
        return Leaf(value, origin)
    return tree(value, origin) if isinstance(value, Mapping) else Leaf(plain(value), origin)


def plain(value: Any) -> Any:
    """Return a document's value as JSON has it."""
    match value:
        case None | str() | int() | float():
            return value
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case date():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def planted(path: str, leaf: Leaf) -> Tree:
    """Return the tree that has one leaf, at a dotted path."""
    first, _, rest = path.partition(".")
    return {first: planted(rest, leaf) if rest else leaf}


def merge(lower: Tree, upper: Tree) -> Tree:
    """Lay one tree over another; neither is changed."""
    merged = dict(lower)
    for key, above in upper.items():
        below = merged.get(key)
        merged[key] = merge(below, above) if isinstance(below, dict) and isinstance(above, dict) else above
    return merged


def without_nulls(merged: Tree) -> Tree:
    """Drop what a level unset."""
    return {
        key: without_nulls(node) if isinstance(node, dict) else node
        for key, node in merged.items()
        if isinstance(node, dict) or node.value is not None
    }


def values(merged: Tree) -> dict[str, Any]:
    """Return the plain configuration."""
    return {key: values(node) if isinstance(node, dict) else node.value for key, node in merged.items()}


def leaves(merged: Tree, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield every leaf with its dotted path, such as ``resource_limits.memory``."""
    for key, node in merged.items():
        path = f"{prefix}{key}"
        if isinstance(node, dict):
            yield from leaves(node, f"{path}.")
        else:
            yield path, node

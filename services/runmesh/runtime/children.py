"""How a dynamic block fans out: how many children the blocks below it have, and what they are called."""

from collections.abc import Sequence
from typing import Any, Final

from runmesh.runtime.failed import Failed, say
from runmesh.runtime.steps import Step

_LONGEST_NAME: Final = 100
_LARGEST_NAMES: Final = 500_000
"""Bytes of all names together: an outcome is read as a whole."""


def fan_out(step: Step, outputs: Sequence[Any]) -> dict[str, Any]:
    """Return `count`, and `names` if the metadata names any child; raises `Failed` for what are no items or names."""
    where = f"block {step.name!r} is dynamic"
    if not outputs:
        say(f"{where}, and returned nothing: the blocks below it have no children")
        return {"count": 0}
    items, metadata = (*outputs, None)[:2]
    if not _is_list(items):
        raise Failed(f"{where}: it must return a list of items, not {type(items).__name__}")
    count = len(items)
    names = _names(metadata, count) if isinstance(metadata, list) else None
    if names is None:
        return {"count": count}
    if problem := _problem(names):
        raise Failed(f"{where}: {problem}")
    return {"count": count, "names": names}


def _is_list(items: Any) -> bool:
    """A list, a tuple, a DataFrame or a Series (without importing pandas for those who don't)."""
    return isinstance(items, list | tuple) or type(items).__name__ in {"DataFrame", "Series"}


def _names(metadata: Sequence[Any], count: int) -> list[str] | None:
    own = [entry.get("block_uuid") if isinstance(entry, dict) else None for entry in metadata[:count]]
    if not any(name not in (None, "") for name in own):
        return None
    own += [None] * (count - len(own))
    return [str(index) if name in (None, "") else str(name) for index, name in enumerate(own)]


def _problem(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return f"two children are called {name[:_LONGEST_NAME]!r}"
        if len(name) > _LONGEST_NAME or not name.isprintable():
            return f"{name[:_LONGEST_NAME]!r} is no name of 1 to {_LONGEST_NAME} printable characters"
        seen.add(name)
    if (total := sum(len(name.encode()) for name in names)) > _LARGEST_NAMES:
        return f"its children's names take {total:,} bytes, the most is {_LARGEST_NAMES:,}"
    return None

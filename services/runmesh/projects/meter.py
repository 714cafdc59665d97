"""How much one rendering may do and make: the bounds that Jinja's sandbox lacks.

Work is counted in units, a loop's turn costing as many as its body has nodes, a value one for each hundred of its
size. Sizes count characters, items and bits, of everything that a value holds. Processor time is the last resort, for
what is dearer than it looks.
"""

from contextvars import ContextVar
from time import thread_time
from typing import Any, Final

LONGEST_TEMPLATE: Final = 100_000
LARGEST_VALUE: Final = 65_536
LARGEST_OUTPUT: Final = 1_000_000
WORK: Final = 200_000
PROCESSOR_SECONDS: Final = 1.0


class Exceeded(Exception):
    """The template does more, or makes something larger, than it may."""


class Meter:
    """The work that one rendering has left."""

    def __init__(self) -> None:
        self._left = WORK
        self._end = thread_time() + PROCESSOR_SECONDS

    def spend(self, amount: int) -> None:
        """Take units off; raises `Exceeded` when none are left."""
        self._left -= amount
        if self._left < 0 or thread_time() > self._end:
            raise Exceeded("the template loops too long")


METER: Final[ContextVar[Meter]] = ContextVar("METER")
"""Of the rendering under way."""


def limited(value: Any) -> Any:
    """Return a value just made, its work counted; raises `Exceeded` if it is too large."""
    METER.get().spend(1 + size(value) // 100)
    return value


def size(value: Any) -> int:
    """Measure a value with all that it holds; raises `Exceeded` as soon as that is too much."""
    total, rest = 0, [value]
    while rest:
        item = rest.pop()
        total += _own_size(item)
        check(total)
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            rest += item
    return total


def check(total: int) -> None:
    """Raise `Exceeded` if a value of this size may not be made."""
    if total > LARGEST_VALUE:
        raise Exceeded(f"the template makes a value larger than {LARGEST_VALUE:,}")


def _own_size(value: Any) -> int:
    if isinstance(value, int):
        return 1 + value.bit_length()
    return 1 + len(value) if isinstance(value, str | list | tuple | dict | range) else 1

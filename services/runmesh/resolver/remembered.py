"""A memory that forgets what was used least recently, once it holds too much: too many things, or too many bytes.

What several values share is counted once: thousands of runs of one pipeline may hold the very same plan.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

V = TypeVar("V")
Part = tuple[Hashable, int]
"""Something a value holds: its identity, and its bytes."""


class Remembered(Generic[V]):
    """Values by key. `parts` says what a value holds, when it is put."""

    def __init__(self, parts: Callable[[V], Iterable[Part]], *, most: int, most_bytes: int) -> None:
        self._parts, self._most, self._most_bytes = parts, most, most_bytes
        self._values: OrderedDict[Hashable, tuple[V, tuple[Part, ...]]] = OrderedDict()
        self._holders: dict[Hashable, int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> V | None:
        """Return a value, and note that it was used."""
        if (found := self._values.get(key)) is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: V) -> None:
        """Remember a value, the latest one at least, whatever it holds."""
        self.forget(key)
        parts = tuple(self._parts(value))
        self._values[key] = value, parts
        for identity, size in parts:
            holders = self._holders[identity] = self._holders.get(identity, 0) + 1
            if holders == 1:
                self.bytes += size
        while len(self._values) > 1 and (len(self._values) > self._most or self.bytes > self._most_bytes):
            self.forget(next(iter(self._values)))

    def forget(self, key: Hashable) -> None:
        """Drop a value, if it is there."""
        _, parts = self._values.pop(key, (None, ()))
        for identity, size in parts:
            self._holders[identity] -= 1
            if not self._holders[identity]:
                del self._holders[identity]
                self.bytes -= size

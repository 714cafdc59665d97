"""How long to wait between two looks at all tasks: short while they change, longer while they don't (pure)."""

from typing import Final

CALLS_A_SECOND: Final = 5.0
"""DescribeTasks that one worker may spend: an account has 20 a second, after 100 at once."""
PER_CALL: Final = 100
"""Tasks that one DescribeTasks takes."""
_SLOWER: Final = 1.3
_LONGEST: Final = 15.0


class Interval:
    """Seconds until the next look."""

    def __init__(self, shortest: float) -> None:
        self._shortest = self.seconds = shortest

    def seen(self, *, changed: bool, looked: int, tasks: int) -> None:
        """Adapt to what a look at some of all tasks has shown: the others may have changed."""
        least = max(self._shortest, tasks / PER_CALL / CALLS_A_SECOND)
        slower = self.seconds * _SLOWER ** (looked / max(looked, tasks, 1))
        self.seconds = least if changed else min(max(_LONGEST, least), max(least, slower))

"""Back-pressure: when a platform refuses for now, the whole worker waits, and stops pulling meanwhile."""

from random import uniform
from typing import Final

from runmesh.clock import clock

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0
_DOUBLINGS: Final = 7


class Throttle:
    """Says how long the next submit must wait: after refusals, and to keep a rate shared by all replicas."""

    def __init__(self, rate: float | None = None, burst: float = 1.0) -> None:
        self._rate = rate
        self._saved = (burst - 1) / rate if rate else 0.0
        """Seconds without a submit that are made up for at once."""
        self._clear_at = 0.0
        self._next_turn = 0.0
        self._refusals = 0
        self.replicas = 1

    @property
    def shares_rate(self) -> bool:
        """Whether there is a rate to share with the other workers of the pool."""
        return self._rate is not None

    def turn(self) -> float:
        """Take a turn if there is one now (0), else return the seconds to wait before asking again."""
        now = clock()
        wait = max(self._clear_at, self._next_turn) - now
        if wait > 0:
            return wait
        if self._rate is not None:
            self._next_turn = max(self._next_turn, now - self._saved) + self.replicas / self._rate
        return 0.0

    def refused(self, retry_after: float | None) -> float:
        """Note a refusal; return the seconds for which nothing should be pulled."""
        backoff = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._refusals, _DOUBLINGS))
        self._refusals += 1
        delay = (backoff if retry_after is None else retry_after) * uniform(1.0, 1.25)  # noqa: S311 - spreads load
        self._clear_at = max(self._clear_at, clock() + delay)
        return delay

    def accepted(self) -> None:
        """Note that the platform takes jobs again."""
        self._refusals = 0

"""The clock by which leases are counted, the same in a worker and in what guards its local processes.

Deadlines that several machines share are told by their wall clocks instead, which must not differ by much.
"""

import time
from typing import Final

MOST_SKEW: Final = 2.0
"""Seconds by which our wall clock may differ from the server's before that is told."""
_HEALTHY_AFTER: Final = 60.0
_LONGEST_PAUSE: Final = 30.0
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Return seconds that no clock setting moves, and in which a suspended machine's sleep counts."""
    return time.clock_gettime(_CLOCK)


def ahead(theirs: float, *, before: float, after: float) -> float:
    """Return by how many seconds our wall clock is ahead of another's at least, negative if it is behind.

    It said `theirs` between `before` and `after` by ours.
    """
    return before - theirs if theirs < before else min(0.0, after - theirs)


def longer(pause: float, *, lived: float, first: float) -> float:
    """Return how many seconds to rest before something that has ended is begun again.

    Twice the pause before, up to half a minute; after something that `lived` for more than a minute, the first pause.
    """
    return first if lived > _HEALTHY_AFTER else min(_LONGEST_PAUSE, 2 * pause)

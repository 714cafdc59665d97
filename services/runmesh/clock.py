"""The clock by which leases are counted, the same in a worker and in what guards its local processes.

Deadlines that several machines share are told by their wall clocks instead, which must not differ by much.
"""

import time
from typing import Final

MOST_SKEW: Final = 2.0
"""Seconds by which our wall clock may differ from the server's before that is told."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Return seconds that no clock setting moves, and in which a suspended machine's sleep counts."""
    return time.clock_gettime(_CLOCK)

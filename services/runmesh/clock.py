"""The clock by which leases are counted, the same in a worker and in what guards its local processes."""

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Return seconds that no clock setting moves, and in which a suspended machine's sleep counts."""
    return time.clock_gettime(_CLOCK)

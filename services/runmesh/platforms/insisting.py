"""Asking again, a few times, where it does no harm: a platform throttles, fails, or is not reached for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from math import isfinite
from random import uniform
from typing import Any, Final, TypeVar

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.25
"""Seconds before the second try; before each further one twice as many."""


async def insisting(call: Callable[[], Awaitable[T]], *, tries: int, passing: Callable[[Exception], bool]) -> T:
    """Return what a call returns. Raises what the last of so many tries raises, and at once what is not `passing`."""
    for attempt in range(tries - 1):
        try:
            return await call()
        except Exception as error:
            if not passing(error):
                raise
        await asyncio.sleep(_FIRST_PAUSE * 2**attempt * uniform(1.0, 1.5))  # noqa: S311 - spreads load
    return await call()


def seconds_to_wait(value: Any) -> float | None:
    """Read the seconds that a platform says to wait, as its `Retry-After` has them; None: it has no number."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if isfinite(seconds) else None

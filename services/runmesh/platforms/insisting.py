"""Asking again, a few times, where it does no harm: a platform throttles, fails, or is not reached for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Final, TypeVar

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

"""Waiting for what a test expects, instead of sleeping for luck."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")

_SELDOM: Final = 0.1
"""Seconds from one look to the next in the end."""


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T | None], *, within: float = ..., every: float = ...) -> T: ...
async def eventually(check: Callable[[], Any], *, within: float = 60.0, every: float = 0.02) -> Any:
    """Call `check` until it returns something true without an AssertionError, and return that.

    After `within` seconds the last assertion is raised, or the last false value reported: they are many, so that a
    busy machine fails no test. `every` is how long to wait at first; who waits long is asked less often.
    """
    began = monotonic()
    deadline = began + within
    while True:
        try:
            outcome = check()
            value = await outcome if inspect.isawaitable(outcome) else outcome
            if value or monotonic() > deadline:
                assert value, f"still {value!r} after {within} s"
                return value
        except AssertionError:
            if monotonic() > deadline:
                raise
        await asyncio.sleep(max(every, min((monotonic() - began) / 20, _SELDOM)))

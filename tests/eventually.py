"""Waiting for what a test expects, instead of sleeping for luck."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T | None], *, within: float = ..., every: float = ...) -> T: ...
async def eventually(check: Callable[[], Any], *, within: float = 15.0, every: float = 0.02) -> Any:
    """Call `check` until it returns something true without an AssertionError, and return that.

    After `within` seconds the last assertion is raised, or the last false value reported.
    """
    deadline = monotonic() + within
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
        await asyncio.sleep(every)

"""Writing many things, none of which waits behind so many others that it is given up."""

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import Any, Final

_AT_ONCE: Final = 2_000


async def all_of(posts: Iterable[Awaitable[Any]]) -> None:
    """Post all that an iterator yields, some at once, as it is asked for them."""
    waiting = iter(posts)
    while some := list(islice(waiting, _AT_ONCE)):
        await asyncio.gather(*some)

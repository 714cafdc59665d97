"""Several readings of one stream as one.

Each says None when it has come to the end of what is stored: what it yields later is newer than that, so nobody waits
for it. While one of them is still on its way there, what the others hold may be newer, and waits.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from runmesh.bus.message import Message

Reading = AsyncGenerator[Message | None, None]
_END: Final = object()


async def merged(readings: Sequence[Reading]) -> AsyncIterator[Message]:
    """Yield what all of them yield, in the stream's order; what is stored meanwhile may be out of it by a moment."""
    heads: dict[Reading, Message] = {}
    behind = set(readings)
    asked = {_ask(reading): reading for reading in readings}
    try:
        while asked or heads:
            if heads and not behind:
                first = min(heads, key=lambda reading: heads[reading].sequence)
                yield heads.pop(first)
                behind.add(first)
                asked[_ask(first)] = first
                continue
            answered, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for answer in answered:
                behind.discard(reading := asked.pop(answer))
                match answer.result():
                    case Message() as message:
                        heads[reading] = message
                    case None:
                        asked[_ask(reading)] = reading
    finally:
        await _close(list(asked), readings)


def _ask(reading: Reading) -> asyncio.Future[object]:
    return asyncio.ensure_future(anext(reading, _END))


async def _close(asked: Sequence[asyncio.Future[object]], readings: Sequence[Reading]) -> None:
    for answer in asked:
        answer.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    for reading in readings:
        await reading.aclose()

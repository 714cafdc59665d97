"""How often something is tried that breaks the resolver by its own fault: three times, then it is dead.

A message is counted by the server, whichever replica it came to. A turn is counted here, run by run: the sweep takes
turns without any message, and what not even fails in order is found by twice as many.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from runmesh.bus import Message

AGAIN: Final = 1.0
"""Seconds until what failed is tried again."""
_TRIES: Final = 3
_LONGEST: Final = 60.0


class Verdict(NamedTuple):
    """What becomes of a turn that broke."""

    dead: Sequence[Message]
    """Those of its messages that had their tries."""
    again: Sequence[Message]
    fails: bool
    """The run had its tries, or a message of it."""
    hopeless: bool
    """It should have failed before, and could not."""


class Tries:
    """Counts the turns of each run that broke since one succeeded."""

    def __init__(self) -> None:
        self._broken: Counter[str] = Counter()

    def forget(self, run: str) -> None:
        """Forget what broke: a turn succeeded, or there is none to come."""
        self._broken.pop(run, None)

    def broke(self, run: str, messages: Sequence[Message]) -> Verdict:
        """Count a broken turn with these messages."""
        self._broken[run] += 1
        turns = self._broken[run]
        dead = [message for message in messages if exhausted(message)]
        again = [message for message in messages if not exhausted(message)]
        return Verdict(dead, again, bool(dead) or turns >= _TRIES, turns >= 2 * _TRIES)


def exhausted(message: Message) -> bool:
    """Whether a message had its tries."""
    return message.deliveries >= _TRIES


async def hand_back(messages: Iterable[Message]) -> None:
    """Have messages delivered again, the later the more often it was in vain.

    All at once: without a connection each waits for one, and a service that drains waits for all of them.
    """
    await asyncio.gather(*(message.nak(min(AGAIN * message.deliveries, _LONGEST)) for message in messages))

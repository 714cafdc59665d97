"""Continuous pull: one subscription that refills itself."""

from typing import Self

from runmesh.bus.message import Message


class Pump:
    """The messages of one durable consumer, never more at once than there are free slots."""

    slots: int
    """How many messages may be held at once; a new value holds for the next pull."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Ask for nothing during the next `seconds`. What was asked for before may still come."""
        raise NotImplementedError

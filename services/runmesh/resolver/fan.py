"""The children of one dynamic child block, as counts and bitmaps: ten thousand of them take a few kilobytes.

Child i is bit i. Only those that are out, or wait for another try, have a record of their own in the state; one that
has ended leaves its bit, and the number of its tries if it took more than one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from runmesh.events import Cause, TaskState
from runmesh.resolver.document import Document


def _bits(value: object) -> int:
    return value if isinstance(value, int) else int(str(value), 16)


Bits = Annotated[int, PlainValidator(_bits), PlainSerializer(lambda bits: f"{bits:x}", return_type=str)]
"""A set of children; in JSON a hexadecimal text."""

_WORST_FIRST: Final = (
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.UPSTREAM_FAILED,
    TaskState.CONDITION_FAILED,
)


class Items(Document):
    """How many items a dynamic block (or one child of it) returned, and what it calls their children.

    It comes from a job: raises ValueError for what no run could go on with.
    """

    count: int = Field(ge=0, le=10**12)
    names: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()

    @model_validator(mode="after")
    def _names_all_or_none(self) -> Self:
        if self.names and len(self.names) != self.count:
            raise ValueError(f"{len(self.names)} names for {self.count} items")
        return self


class Fan(Document):
    """All children of one block."""

    width: int
    factors: tuple[int, ...] = ()
    """How many parts each input has (see `projects.fanout`)."""
    named: str = ""
    """The dynamic block that calls the children by name, each by its item's."""
    names: tuple[str, ...] = ()
    """What the children are called where the names are of several lists of items."""
    begun: Bits = 0
    """Those that were dispatched, or ended without."""
    ended: dict[TaskState, Bits] = Field(default_factory=dict)
    tries: dict[int, tuple[int, int]] = Field(default_factory=dict)
    """Attempt and resubmission of ended children that took more than the first."""
    cause: Cause | None = None
    """Of the first failure."""

    def called(self, items: Mapping[str, Items]) -> tuple[str, ...]:
        """Return the children's own names, none where they go by their index."""
        return items[self.named].names if self.named else self.names

    def name(self, block: str, index: int, items: Mapping[str, Items]) -> str:
        """Return what a child's task is called, in Mage's way."""
        names = self.called(items)
        return f"{block}:{names[index] if names else index}"

    @property
    def everyone(self) -> int:
        """All bits."""
        return (1 << self.width) - 1

    @property
    def completed(self) -> int:
        """The children that completed."""
        return self.ended.get(TaskState.COMPLETED, 0)

    @property
    def over(self) -> bool:
        """All have ended."""
        return sum(bits.bit_count() for bits in self.ended.values()) == self.width

    @property
    def state(self) -> TaskState:
        """How the block as a whole ended: as its worst child."""
        return next((state for state in _WORST_FIRST if self.ended.get(state)), TaskState.COMPLETED)

    def counts(self) -> dict[str, int]:
        """Count the children by state; those that have not ended are `running` or `pending`."""
        ended = {str(state): bits.bit_count() for state, bits in self.ended.items() if bits}
        begun, over = self.begun.bit_count(), sum(ended.values())
        going = {"running": begun - over, "pending": self.width - begun}
        return ended | {name: count for name, count in going.items() if count}

    def begin(self, bits: int) -> "Fan":
        """Return the fan after these children were dispatched."""
        return self.model_copy(update={"begun": self.begun | bits})

    def end(self, state: TaskState, bits: int, cause: Cause | None = None) -> "Fan":
        """Return the fan after these children ended."""
        ended = self.ended | {state: self.ended.get(state, 0) | bits}
        return self.model_copy(update={"begun": self.begun | bits, "ended": ended, "cause": self.cause or cause})

    def tried(self, index: int, attempt: int, resubmission: int) -> "Fan":
        """Return the fan that remembers a child's tries, if it took more than the first."""
        if (attempt, resubmission) == (1, 0):
            return self
        return self.model_copy(update={"tries": self.tries | {index: (attempt, resubmission)}})

    def again(self) -> "Fan":
        """Return the fan in which only the completed children have begun: what a retry carries over."""
        kept = self.completed
        tries = {index: tries for index, tries in self.tries.items() if kept >> index & 1}
        ended = {TaskState.COMPLETED: kept} if kept else {}
        return self.model_copy(update={"begun": kept, "ended": ended, "tries": tries, "cause": None})


def members(bits: int) -> Iterator[int]:
    """Yield the children in a set, lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def spread(above: int, step: int, factor: int, width: int) -> int:
    """Return the children that stand, in one upstream block, at any of the positions in `above`."""
    if step == 1 and factor == width:
        return above
    run = (1 << step) - 1
    period = sum(run << position * step for position in members(above))
    return period * (((1 << width) - 1) // ((1 << step * factor) - 1))


def nested_names(items: Sequence[Items]) -> tuple[str, ...]:
    """Return the names of the children below a nested block if any has one: with its own child's index behind."""
    if not any(each.names for each in items):
        return ()
    names: list[str] = []
    for child, each in enumerate(items):
        own = each.names or tuple(map(str, range(each.count)))
        names += (f"{name}:{child}" for name in own)
    return tuple(names)

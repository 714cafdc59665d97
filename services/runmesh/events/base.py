"""What all events have in common: a frozen body, a versioned type, and the values that many of them hold."""

from typing import Annotated, ClassVar, Final, NewType

from pydantic import BaseModel, ConfigDict, Field

VERSION: Final = "v1"
TYPE_PREFIX: Final = "dev.runmesh."
LONGEST: Final = 10 * 366 * 86_400
"""Seconds: ten years. A calendar ends, so no time may be any longer."""

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Seconds = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Partition = Annotated[str, Field(pattern=r"^[A-Za-z0-9_=:+-][A-Za-z0-9_.=:+/-]{0,199}$")]

Handle = NewType("Handle", str)
"""The whole address of a job on its platform: whoever holds it needs nothing else to find the job."""


class Event(BaseModel):
    """What every event has: a frozen body, and a versioned CloudEvents type."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type_name: ClassVar[str]

    @classmethod
    def type_of(cls, name: str) -> str:
        """Return the versioned CloudEvents type for a name such as ``task.completed``."""
        return f"{TYPE_PREFIX}{name}.{VERSION}"

    @property
    def ce_type(self) -> str:
        """This event's CloudEvents type."""
        return self.type_of(self.type_name)

    def to_json(self) -> bytes:
        """Encode the body; absent optional fields are left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Command(Event):
    """An event that asks for something: strict, since a typo must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

"""Values of a configuration that platforms have alike: how they may be written, and how they are refused."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

Seconds = Annotated[Any, WithJsonSchema({"type": ["number", "null"]})]
"""A time limit: the resolver checks all of them together."""


def listed(value: Any) -> Any:
    """Read one text as a list of it."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]
"""Some texts, or one."""


def at_most(most: int) -> AfterValidator:
    """Refuse more than so many."""

    def check(found: dict[str, str]) -> dict[str, str]:
        if len(found) > most:
            raise ValueError(f"should be at most {most}")
        return found

    return AfterValidator(check)


def refuse(wrong: tuple[str, str] | None) -> None:
    """Refuse a value if there is a message and a hint. For validators: raises pydantic's own error."""
    if wrong:
        raise PydanticCustomError("shape", "{message}", {"message": wrong[0], "hint": wrong[1]})

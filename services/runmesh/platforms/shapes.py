"""Structures of a platform's API in a configuration, with the API's own names of fields.

People write the names in camelCase or in snake_case: they are put right before levels are merged.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """A structure of the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def said(shape: Shape) -> dict[str, Any]:
    """Return what a structure says, as the API takes it."""
    return shape.model_dump(mode="json", exclude_none=True)


def renamed(value: Any, name: Callable[[Any], Any]) -> Any:
    """Return a structure with other names of its fields, however deep they are."""
    match value:
        case Mapping():
            return {name(key): renamed(each, name) for key, each in value.items()}
        case list() | tuple():
            return [renamed(each, name) for each in value]
    return value


def snake(name: str) -> str:
    """Return a camelCase name in snake_case; a unit is one word."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace("GiB", "Gib")).lower()


def by_snake(names: Iterable[str]) -> dict[str, str]:
    """Return the API's names by what they are in snake_case."""
    return {snake(name): name for name in names}


def fields(shapes: Iterable[type[Shape]]) -> list[str]:
    """Return the names of all fields of structures."""
    return [name for shape in shapes for name in shape.model_fields]

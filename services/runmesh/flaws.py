"""What pydantic finds wrong with a document or a configuration, in our words."""

from collections.abc import Collection, Iterator, Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def message_of(detail: ErrorDetails) -> str:
    """Return what is wrong, without pydantic's own beginnings."""
    return detail["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")


def fields_at(model: type[BaseModel], location: Sequence[int | str]) -> Collection[str]:
    """Name the fields of the (nested) model in which the last part of a location stands."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        model = (next(_models_in(field.annotation), None) if field else None) or model
    return model.model_fields


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

"""The structures of the ECS API that a configuration may hold, with the API's own names of fields.

A field may be written in snake_case as well: `api_names` puts it right, before levels are merged.
"""
# ruff: noqa: N815 - the API's own names

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Shape):
    """A variable."""

    name: str
    value: str


class File(_Shape):
    """A file of variables in S3."""

    value: str
    type: str = "s3"


class Requirement(_Shape):
    """A GPU or an inference accelerator."""

    value: str
    type: str


class ContainerOverride(_Shape):
    """What is different in one container. Its command is the mesh's, if the container is the task's own."""

    name: str
    command: tuple[str, ...] | None = None
    environment: tuple[Pair, ...] | None = None
    environmentFiles: tuple[File, ...] | None = None
    cpu: int | None = None
    memory: int | None = None
    memoryReservation: int | None = None
    resourceRequirements: tuple[Requirement, ...] | None = None


class EphemeralStorage(_Shape):
    """The disk of a Fargate task."""

    sizeInGiB: int


class Accelerator(_Shape):
    """An inference accelerator."""

    deviceName: str
    deviceType: str


class TaskOverride(_Shape):
    """What is different in the whole task."""

    containerOverrides: tuple[ContainerOverride, ...] = ()
    cpu: str | None = None
    memory: str | None = None
    executionRoleArn: str | None = None
    taskRoleArn: str | None = None
    ephemeralStorage: EphemeralStorage | None = None
    inferenceAcceleratorOverrides: tuple[Accelerator, ...] | None = None


class Provider(_Shape):
    """One capacity provider of a strategy."""

    capacityProvider: str
    weight: int | None = None
    base: int | None = None


class Constraint(_Shape):
    """Where a task may be placed."""

    type: Literal["distinctInstance", "memberOf"]
    expression: str | None = None


class Strategy(_Shape):
    """How a place is chosen."""

    type: Literal["random", "spread", "binpack"]
    field: str | None = None


class Vpc(_Shape):
    """The network of a task whose mode is awsvpc."""

    subnets: tuple[str, ...]
    securityGroups: tuple[str, ...] | None = None
    assignPublicIp: Literal["ENABLED", "DISABLED"] | None = None


class Network(_Shape):
    """The network of a task."""

    awsvpcConfiguration: Vpc


def said(shape: BaseModel) -> dict[str, Any]:
    """Return what a structure says, as the API takes it."""
    return shape.model_dump(mode="json", exclude_none=True)


def api_names(value: Any) -> Any:
    """Return a structure with the API's names of its fields, whichever way they are written."""
    match value:
        case Mapping():
            return {_NAMES.get(key, key): api_names(each) for key, each in value.items()}
        case list() | tuple():
            return [api_names(each) for each in value]
    return value


def snake(name: str) -> str:
    """Return the API's name of a field in snake_case."""
    return "size_in_gib" if name == "sizeInGiB" else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


_SHAPES: Final = (
    *(ContainerOverride, EphemeralStorage, Accelerator, TaskOverride, Provider, Constraint, Strategy, Vpc, Network),
)
_NAMES: Final = {snake(name): name for shape in _SHAPES for name in shape.model_fields}

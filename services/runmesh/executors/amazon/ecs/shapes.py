"""The structures of the ECS API that a configuration may hold, with the API's own names of fields.

A field may be written in snake_case as well: `api_names` puts it right, before levels are merged.
"""
# ruff: noqa: N815 - the API's own names

from typing import Any, Final, Literal

from runmesh.platforms.shapes import Shape, by_snake, fields, renamed


class Pair(Shape):
    """A variable."""

    name: str
    value: str


class File(Shape):
    """A file of variables in S3."""

    value: str
    type: str = "s3"


class Requirement(Shape):
    """A GPU or an inference accelerator."""

    value: str
    type: str


class ContainerOverride(Shape):
    """What is different in one container. Its command is the mesh's, if the container is the task's own."""

    name: str
    command: tuple[str, ...] | None = None
    environment: tuple[Pair, ...] | None = None
    environmentFiles: tuple[File, ...] | None = None
    cpu: int | None = None
    memory: int | None = None
    memoryReservation: int | None = None
    resourceRequirements: tuple[Requirement, ...] | None = None


class EphemeralStorage(Shape):
    """The disk of a Fargate task."""

    sizeInGiB: int


class Accelerator(Shape):
    """An inference accelerator."""

    deviceName: str
    deviceType: str


class TaskOverride(Shape):
    """What is different in the whole task."""

    containerOverrides: tuple[ContainerOverride, ...] = ()
    cpu: str | None = None
    memory: str | None = None
    executionRoleArn: str | None = None
    taskRoleArn: str | None = None
    ephemeralStorage: EphemeralStorage | None = None
    inferenceAcceleratorOverrides: tuple[Accelerator, ...] | None = None


class Provider(Shape):
    """One capacity provider of a strategy."""

    capacityProvider: str
    weight: int | None = None
    base: int | None = None


class Constraint(Shape):
    """Where a task may be placed."""

    type: Literal["distinctInstance", "memberOf"]
    expression: str | None = None


class Strategy(Shape):
    """How a place is chosen."""

    type: Literal["random", "spread", "binpack"]
    field: str | None = None


class Vpc(Shape):
    """The network of a task whose mode is awsvpc."""

    subnets: tuple[str, ...]
    securityGroups: tuple[str, ...] | None = None
    assignPublicIp: Literal["ENABLED", "DISABLED"] | None = None


class Network(Shape):
    """The network of a task."""

    awsvpcConfiguration: Vpc


def api_names(value: Any) -> Any:
    """Return a structure with the API's names of its fields, whichever way they are written."""
    return renamed(value, lambda key: _NAMES.get(key, key))


_SHAPES: Final = (
    *(ContainerOverride, EphemeralStorage, Accelerator, TaskOverride, Provider, Constraint, Strategy, Vpc, Network),
)
_NAMES: Final = by_snake(fields(_SHAPES))

"""What an ECS task can be configured with: Mage's keys, and what its users ask for.

What Fargate can't combine is refused here, and so at planning, before any call. Inside `overrides` and the other
structures of the API its fields are known (see `shapes`), in camelCase or snake_case.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from runmesh.executor import ExecutorConfig
from runmesh.executors.amazon.access import is_region
from runmesh.executors.amazon.ecs.fargate import wrong_cpu, wrong_memory
from runmesh.executors.amazon.ecs.fields import named, unknown
from runmesh.executors.amazon.ecs.shapes import Constraint, Network, Provider, Strategy, TaskOverride, api_names
from runmesh.platforms.values import Seconds, Texts, at_most, listed, refuse

_FARGATE: Final = "FARGATE"
_STRUCTURES: Final = (
    *("overrides", "capacity_provider_strategy", "network_configuration"),
    *("placement_constraints", "placement_strategy"),
)
_MOST_TAGS: Final = 40
"""AWS takes fifty, and some are the mesh's."""


def _number_of(unit: str) -> BeforeValidator:
    """Read ``2 GB`` or ``.5 vCPU`` as ECS itself does: a thousand and twenty-four of what is counted."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+)\s*({unit})?\s*", value, re.IGNORECASE)
        if found is None:
            raise ValueError(f"should be a number, or one of {unit}")
        return int(float(found[1]) * 1024) if found[2] else found[1]

    return BeforeValidator(read)


def _canonical(key: str, value: Any) -> Any:
    if key == "task_definition":
        return named(value)
    return api_names(value) if key in _STRUCTURES else value


def _tags(value: Any) -> Any:
    """Read tags as a mapping, as ``{key, value}``, or as plain text, as Mage's documentation has them."""
    if isinstance(value, Mapping):
        return {str(name): "" if each is None else str(each) for name, each in value.items()}
    return dict(map(_tag, value)) if isinstance(value, list | tuple) else value


def _tag(value: Any) -> tuple[str, str]:
    match value:
        case str():
            return value, ""
        case {"key": key, **rest} if not rest.keys() - {"value"}:
            return str(key), str(rest.get("value", ""))
        case {"Key": key, **rest} if not rest.keys() - {"Value"}:
            return str(key), str(rest.get("Value", ""))
    raise ValueError("each tag should be {key, value}, or text")


class Config(ExecutorConfig):
    """A task on ECS."""

    unguarded: ClassVar[tuple[str, ...]] = ("overrides", "network_configuration")

    task_definition: str | dict[str, Any] | None = Field(
        None,
        description="A family, `family:revision` or ARN, or a definition itself, as the API has it; "
        "the worker's own if absent.",
    )
    container_name: str | None = Field(
        None, description="The container that runs the command; the definition's first if absent."
    )
    cluster: str | None = Field(None, description="Name or ARN; the worker's own if absent.")
    subnets: Texts = Field((), description="Where the task's network is; the worker's own if absent.")
    security_groups: Texts = Field((), description="Of the task's network; the worker's own if absent.")
    assign_public_ip: bool = Field(default=True, description="Whether the task has an address of its own.")
    network_configuration: Network | None = Field(None, description="Instead of the three above, as the API has it.")
    launch_type: Literal["FARGATE", "EC2", "EXTERNAL"] = Field("FARGATE", description="On what it runs.")
    capacity_provider_strategy: tuple[Provider, ...] = Field(
        (), description="Instead of launch_type: [{capacity_provider: FARGATE_SPOT, weight: 1}]."
    )
    cpu: Annotated[int, Field(ge=1), _number_of("vCPU")] = Field(
        512, validate_default=True, description="CPU units of the task: 1024 are a vCPU."
    )
    memory: Annotated[int, Field(ge=1), _number_of("GB|GiB")] = Field(
        1024, validate_default=True, description="MiB of the task. Fargate has certain combinations only."
    )
    gpu: int = Field(0, ge=0, description="GPUs of the container (not on Fargate).")
    ephemeral_storage: int | None = Field(None, ge=21, le=200, description="GiB of disk on Fargate.")
    platform_version: str = Field("LATEST", description="Of Fargate.")
    enable_execute_command: bool = Field(default=False, description="Allow `aws ecs execute-command`.")
    image: str | None = Field(None, description="The container's image: makes a task definition of its own, once.")
    environment: dict[str, str] = Field(default_factory=dict, description="More variables, by name.")
    secrets: dict[str, str] = Field(
        default_factory=dict,
        description="Variables by the ARN of a secret or parameter: makes a task definition of its own, once.",
    )
    task_role_arn: str | None = Field(None, description="Who the task is on AWS.")
    execution_role_arn: str | None = Field(None, description="Who pulls its image, reads its secrets, writes its log.")
    overrides: TaskOverride = Field(
        default_factory=TaskOverride, description="What else is different from the definition, as the API has it."
    )
    tags: Annotated[dict[str, str], BeforeValidator(_tags), at_most(_MOST_TAGS)] = Field(
        default_factory=dict, description="A mapping, a list of {key, value}, or plain texts."
    )
    group: str | None = Field(None, description="The task group.")
    placement_constraints: tuple[Constraint, ...] = Field((), description="As the API has them (not on Fargate).")
    placement_strategy: tuple[Strategy, ...] = Field((), description="As the API has it (not on Fargate).")
    region: str | None = Field(None, description="The AWS region; the worker's own if absent.")
    endpoint_url: str | None = Field(None, description="Where the API is, if not at AWS's own address.")
    assume_role_arn: str | None = Field(None, description="The role with which the worker calls AWS.")
    wait_timeout: Seconds = Field(
        None, description="Seconds that the task may run; then it is stopped. -1 is no limit, and so is none."
    )

    @property
    def on_fargate(self) -> bool:
        """Whether it runs on Fargate."""
        return _on_fargate(self.launch_type, self.capacity_provider_strategy)

    @classmethod
    def canonical(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return one level's configuration with the API's own names in its structures."""
        return {key: _canonical(key, value) for key, value in config.items()}

    @field_validator("cpu")
    @classmethod
    def _fargate_has_cpu(cls, cpu: int, info: ValidationInfo) -> int:
        if _known_on_fargate(info.data):
            refuse(wrong_cpu(cpu))
        return cpu

    @field_validator("memory")
    @classmethod
    def _fargate_has_memory(cls, memory: int, info: ValidationInfo) -> int:
        if _known_on_fargate(info.data) and "cpu" in info.data:
            refuse(wrong_memory(info.data["cpu"], memory))
        return memory

    @field_validator("region")
    @classmethod
    def _is_region(cls, region: str | None) -> str | None:
        if region is not None and not is_region(region):
            raise ValueError("should be a region, such as eu-west-1")
        return region

    @field_validator("task_definition")
    @classmethod
    def _has_containers(cls, definition: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        if isinstance(definition, dict):
            for path, hint in unknown(definition):
                message = f"a task definition has no {path}"
                raise PydanticCustomError("unknown_key", "{message}", {"message": message, "hint": hint})
            containers = definition.get("containerDefinitions")
            if not containers or not all(isinstance(each, dict) and each.get("name") for each in listed(containers)):
                raise ValueError("a definition should have containerDefinitions, each with a name")
        return definition

    @model_validator(mode="after")
    def _commands_are_ours(self) -> Self:
        for override in self.overrides.containerOverrides:
            if override.command is not None and override.name == self.container_name:
                raise ValueError("overrides: the command of the task's own container is the mesh's")
        return self


def _known_on_fargate(data: Mapping[str, Any]) -> bool:
    """Say it while other fields may be wrong: of those nothing is known here."""
    known = "launch_type" in data and "capacity_provider_strategy" in data
    return known and _on_fargate(data["launch_type"], data["capacity_provider_strategy"])


def _on_fargate(launch_type: str, providers: Collection[Provider]) -> bool:
    if providers:
        return any(provider.capacityProvider in (_FARGATE, "FARGATE_SPOT") for provider in providers)
    return launch_type == _FARGATE

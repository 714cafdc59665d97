"""What a container group can be configured with: Mage's keys, and what else the API takes.

Amounts that Azure counts in steps are refused here, and so at planning, before any call. Fields of the API's structures
are known (see `shapes`), in camelCase or snake_case.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from runmesh.executor import ExecutorConfig
from runmesh.executors.azure.shapes import Dns, Gpu, Identity, Limits, LogAnalytics, Mount, Registry, Volume, api_names
from runmesh.executors.azure.sizes import CPU_STEP, MEMORY_STEP, wrong_step
from runmesh.platforms.values import Seconds, Texts, at_most, refuse

_STRUCTURES: Final = (
    *("volumes", "volume_mounts", "identity", "image_registry_credentials", "dns", "log_analytics", "gpu", "limits"),
)
_MOST_TAGS: Final = 40
"""Azure takes fifty, and some are the mesh's."""


def _in_steps_of(step: Decimal) -> AfterValidator:
    def check(value: float) -> float:
        refuse(wrong_step(value, step))
        return value

    return AfterValidator(check)


def _text(value: Any) -> Any:
    """Read numbers and booleans as YAML has them: a variable's value is text."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
    return value


_FINITE: Final = Field(le=100_000, allow_inf_nan=False)
_Variables = dict[str, Annotated[str, BeforeValidator(_text)]]


class Config(ExecutorConfig):
    """A container group on Azure."""

    subscription_id: str | None = Field(None, description="The subscription; AZURE_SUBSCRIPTION_ID if absent.")
    resource_group_name: str | None = Field(
        None, description="The resource group; AZURE_RESOURCE_GROUP_NAME if absent."
    )
    container_group_name: str | None = Field(
        None,
        description="The group to take after, in the same resource group; AZURE_CONTAINER_GROUP_NAME if absent.",
    )
    image: str | None = Field(None, description="The container's image; that of the group to take after if absent.")
    location: str | None = Field(None, description="The region; that of the group to take after if absent.")
    os_type: Literal["Linux", "Windows"] | None = Field(
        None, description="That of the group to take after if absent, else Linux."
    )
    cpu: Annotated[float, _FINITE, _in_steps_of(CPU_STEP)] = Field(1.0, description="Cores.")
    memory: Annotated[float, _FINITE, _in_steps_of(MEMORY_STEP)] = Field(1.0, description="GB.")
    gpu: Gpu | None = Field(None, description="{count: 1, sku: V100}.")
    limits: Limits | None = Field(None, description="The most that it may use: {cpu: 2, memory: 4}.")
    environment: _Variables = Field(default_factory=dict, description="More variables, by name.")
    secure_environment: _Variables = Field(
        default_factory=dict,
        description="Variables that Azure shows nobody; the mesh stores them as all configuration.",
    )
    volumes: tuple[Volume, ...] = Field((), description="As the API has them: azure_file, git_repo, secret, empty_dir.")
    volume_mounts: tuple[Mount, ...] = Field((), description="Where the container finds them, as the API has it.")
    subnet_ids: Texts = Field((), description="Resource ids of the subnet that the group is in.")
    identity: Identity | None = Field(None, description="Who the group is on Azure, as the API has it.")
    image_registry_credentials: tuple[Registry, ...] = Field((), description="As the API has them.")
    dns: Dns | None = Field(None, description="Name servers of the group: {name_servers: [10.0.0.4]}.")
    log_analytics: LogAnalytics | None = Field(None, description="The workspace that output goes to as well.")
    priority: Literal["Regular", "Spot"] | None = Field(None, description="Spot costs less, and may be evicted.")
    restart_policy: Literal["Never"] = Field("Never", description="The mesh repeats what must be repeated.")
    zones: Texts = Field((), description="The availability zone.")
    tags: Annotated[_Variables, at_most(_MOST_TAGS)] = Field(default_factory=dict, description="More tags, by name.")
    wait_timeout: Seconds = Field(
        None, description="Seconds that the container may run; then it is stopped. -1 is no limit, and so is none."
    )

    @classmethod
    def canonical(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return one level's configuration with the API's own names in its structures."""
        return {key: api_names(value) if key in _STRUCTURES else value for key, value in config.items()}

    @model_validator(mode="after")
    def _limits_hold_it(self) -> Self:
        limits = self.limits or Limits()
        if limits.cpu is not None and limits.cpu < self.cpu:
            raise ValueError(f"limits.cpu: should be at least cpu, which is {self.cpu:g}")
        if limits.memoryInGB is not None and limits.memoryInGB < self.memory:
            raise ValueError(f"limits.memory: should be at least memory, which is {self.memory:g}")
        return self

"""What a Cloud Run job can be configured with: Mage's keys, and what its users ask for.

What Cloud Run doesn't offer is refused here, and so at planning, before any call. `env` is another spelling of
`environment`, a mapping or the API's list.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from runmesh.executor import ExecutorConfig
from runmesh.executors.google.shapes import Mount, Volume, VpcAccess, api_names
from runmesh.executors.google.sizes import cpus, mebibytes, wrong_cpu, wrong_memory, wrong_with_gpu
from runmesh.platforms.values import Seconds, at_most, refuse

_STRUCTURES: Final = ("vpc_access", "volumes", "volume_mounts")
_MOST_LABELS: Final = 50
"""A resource of Google's has 64, and some are the mesh's."""
_LABEL_NAME: Final = r"[a-z][a-z0-9_-]{0,62}"
_LABEL_VALUE: Final = r"[a-z0-9_-]{0,63}"
_GENERATIONS: Final = {"gen1": "EXECUTION_ENVIRONMENT_GEN1", "gen2": "EXECUTION_ENVIRONMENT_GEN2"}
_SHORT: Final = "env"
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*"


def _cpus(value: Any) -> Any:
    return cpus(value) if isinstance(value, str) else value


def _by_name(env: Any) -> Any:
    """Return variables by name; what is no list of the API's stays as it is."""
    if not isinstance(env, list) or not all(
        isinstance(each, Mapping) and each.keys() == {"name", "value"} for each in env
    ):
        return env
    return {each["name"]: each["value"] for each in env}


def _generation(value: Any) -> Any:
    return _GENERATIONS.get(value.lower(), value) if isinstance(value, str) else value


class Config(ExecutorConfig):
    """A job on GCP Cloud Run."""

    project_id: str | None = Field(None, description="The Google Cloud project; that of the credentials if absent.")
    region: str = Field("us-west2", description="Where the job runs; Mage's own default.")
    path_to_credentials_json_file: str | None = Field(
        None, description="A file of credentials on the worker's machine; the worker's own credentials if absent."
    )
    image: str | None = Field(
        None, description="The container's image; that of the service GCP_SERVICE_NAME if absent."
    )
    cpu: Annotated[int | None, BeforeValidator(_cpus)] = Field(
        None, description="CPUs: 1, 2, 4, 6 or 8; the service's if absent, else 1."
    )
    memory: str | None = Field(
        None, description="Such as 512Mi or 2Gi, what goes with `cpu`; the service's if absent, else 512Mi."
    )
    gpu: Literal[0, 1] = Field(0, description="GPUs.")
    gpu_type: str = Field("nvidia-l4", description="Which GPU.")
    environment: dict[str, str] = Field(default_factory=dict, description="More variables, by name.")
    secrets: dict[str, str] = Field(
        default_factory=dict, description="Variables by a secret of Secret Manager, `name` or `name:version`."
    )
    working_dir: str | None = Field(None, description="Where the command starts; the image's own if absent.")
    service_account: str | None = Field(None, description="Who the job is on Google Cloud; the service's if absent.")
    vpc_access: VpcAccess | None = Field(None, description="As the API has it; the service's if absent.")
    volumes: tuple[Volume, ...] = Field((), description="As the API has them, beside the service's.")
    volume_mounts: tuple[Mount, ...] = Field((), description="As the API has them, beside the service's.")
    execution_environment: Annotated[
        Literal["EXECUTION_ENVIRONMENT_GEN1", "EXECUTION_ENVIRONMENT_GEN2"] | None, BeforeValidator(_generation)
    ] = Field(None, description="`gen1` or `gen2`; the service's if absent, else Cloud Run's own choice.")
    encryption_key: str | None = Field(None, description="A key of Cloud KMS; the service's if absent.")
    labels: Annotated[dict[str, str], at_most(_MOST_LABELS)] = Field(
        default_factory=dict, description="More labels of the job."
    )
    max_retries: int = Field(0, ge=0, le=10, description="Retries inside Cloud Run; the mesh does its own.")
    parallelism: Literal[1] = Field(1, description="A job has one task.")
    timeout_seconds: Seconds = Field(
        None, description="Seconds that the job may run; then it is cancelled. -1 is no limit, and so is none."
    )

    @classmethod
    def canonical(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return one level's configuration with one spelling of its keys and of the names in its structures."""
        found = {key: api_names(value) if key in _STRUCTURES else value for key, value in config.items()}
        if _SHORT in found:
            short, long = _by_name(found.pop(_SHORT)), found.get("environment")
            found["environment"] = (
                {**short, **long} if isinstance(short, Mapping) and isinstance(long, Mapping) else short
            )
        return found

    @classmethod
    def canonical_paths(cls, path: str) -> tuple[str, ...]:
        """Return where in that spelling all that is said at a dotted path can be."""
        first, dot, rest = path.partition(".")
        return (f"environment{dot}{rest}" if first == _SHORT else path,)

    @classmethod
    def keys(cls) -> Collection[str]:
        """Name all that may be written at the top of a configuration."""
        return {*cls.model_fields, _SHORT}

    @field_validator("region")
    @classmethod
    def _is_region(cls, region: str) -> str:
        if not re.fullmatch(r"[a-z]+(-[a-z]+)+[0-9]+", region):
            raise ValueError("should be a region, such as europe-west1")
        return region

    @field_validator("cpu")
    @classmethod
    def _has_cpu(cls, cpu: int | None) -> int | None:
        refuse(wrong_cpu(cpu) if cpu is not None else None)
        return cpu

    @field_validator("memory")
    @classmethod
    def _has_memory(cls, memory: str | None, info: ValidationInfo) -> str | None:
        if memory is not None:
            size, cpu = mebibytes(memory), info.data.get("cpu")
            refuse(wrong_memory(cpu, size) if cpu is not None else None)
        return memory

    @field_validator("gpu")
    @classmethod
    def _has_room_for_gpu(cls, gpu: int, info: ValidationInfo) -> int:
        cpu, memory = info.data.get("cpu"), info.data.get("memory")
        if gpu and cpu is not None and memory is not None:
            refuse(wrong_with_gpu(cpu, mebibytes(memory)))
        return gpu

    @field_validator("environment", "secrets")
    @classmethod
    def _are_variables(cls, variables: dict[str, str]) -> dict[str, str]:
        if wrong := next((name for name in variables if not re.fullmatch(_VARIABLE, name)), None):
            raise ValueError(f"{wrong!r} is no name of a variable")
        return variables

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name, value in labels.items():
            if not (re.fullmatch(_LABEL_NAME, name) and re.fullmatch(_LABEL_VALUE, value)):
                raise ValueError(f"{name}: {value!r}: lower-case letters, digits, - and _, at most 63 of each")
        return labels

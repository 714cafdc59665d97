"""What a Kubernetes Job can be configured with: Mage's keys, and what its users ask for.

Each thing has one place here (see `spelling`); inside `container`, `pod`, `job`, `metadata` and `sidecars` every field
of the Kubernetes API is known (see `fields`), in snake_case or camelCase.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from runmesh.executor import ExecutorConfig
from runmesh.executors.kubernetes import spelling
from runmesh.executors.kubernetes.asking import Ask, asked_besides
from runmesh.executors.kubernetes.patching import wrong
from runmesh.executors.kubernetes.shapes import UNKNOWN, Flaw, Path, read

_OURS: Final[Mapping[str, tuple[str, ...]]] = {
    "Container": ("command", "args"),
    "PodSpec": ("containers",),
    "JobSpec": ("template", "selector", "manualSelector"),
}
"""Fields that the mesh sets itself."""
PLACEHOLDERS: Final = ("namespace", "name", "project", "pipeline", "run", "block", "key")
"""What `url` may hold in braces."""
_INSTEAD: Final = {"containers": "use `container` for the job's own, `sidecars` for others", "template": "use `pod`"}


class _Checked:
    """Reads a value as the API has it, wherever that is: `within` are the fields around it."""

    def __init__(self, kind: str, *within: str) -> None:
        self._kind, self._within = kind, within

    def __call__(self, value: Any) -> Any:
        for name in self._within:
            value = {name: value}
        found, flaws = read(self._kind, value)
        details = [_detail(flaw, flaw.path[len(self._within) :]) for flaw in (*flaws, *self._ours(found))]
        if details:
            raise ValidationError.from_exception_data(self._kind, details)
        for name in self._within:
            found = found[name]
        return found

    def _ours(self, found: Any) -> Iterator[Flaw]:
        """Yield what only the mesh may set."""
        if self._within or not isinstance(found, Mapping):
            return
        for name in _OURS.get(self._kind, ()):
            if found.get(name) is not None:
                yield Flaw((name,), f"{UNKNOWN}: the mesh sets it itself", _INSTEAD.get(name), found[name])


def _detail(flaw: Flaw, path: Path) -> InitErrorDetails:
    code = "unknown_key" if flaw.message.startswith(UNKNOWN) else "shape"
    context = {"message": flaw.message, "hint": flaw.hint}
    error = PydanticCustomError(code, "{message}", context)
    return InitErrorDetails(type=error, loc=path, input=flaw.value)


_OBJECT: Final = WithJsonSchema({"type": "object"})
_Container = Annotated[dict[str, Any], BeforeValidator(_Checked("Container")), _OBJECT]
_Pod = Annotated[dict[str, Any], BeforeValidator(_Checked("PodSpec")), _OBJECT]
_Job = Annotated[dict[str, Any], BeforeValidator(_Checked("JobSpec")), _OBJECT]
_Metadata = Annotated[dict[str, Any], BeforeValidator(_Checked("ObjectMeta")), _OBJECT]
_Quantities = Annotated[dict[str, Any], BeforeValidator(_Checked("ResourceRequirements", "limits"))]
_Texts = Annotated[dict[str, str], BeforeValidator(_Checked("ObjectMeta", "labels"))]
_Containers = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_Checked("PodSpec", "initContainers"))]


def _with_shorthands(schema: dict[str, Any]) -> None:
    """Add to the published schema what may be written at the top as well as inside its object."""
    for name in spelling.SHORTHANDS:
        schema["properties"][name] = {"description": f"The same as {' and '.join(spelling.places(name))}."}
    schema["properties"]["container_config"] = {"description": "The container once more; wins over it, as in Mage."}


class Config(ExecutorConfig):
    """A Job on Kubernetes."""

    model_config = ConfigDict(json_schema_extra=_with_shorthands)

    unguarded: ClassVar[tuple[str, ...]] = ("patch",)

    job_name_prefix: str = Field(
        "data-prep", description="Begins the Job's name, behind the mesh's id; {trigger_name} is the trigger's."
    )
    namespace: str | None = Field(
        None, description="Where the Job is made; the worker's own namespace if absent. Rendered as a template."
    )
    service_account_name: str = Field("default", description="Who the job is on the cluster.")
    resource_limits: _Quantities = Field(
        default_factory=dict, description="What the job may use at most: {cpu: 2, memory: 4Gi, nvidia.com/gpu: 1}."
    )
    resource_requests: _Quantities = Field(
        default_factory=dict, description="What its node must have for it. Both win over container.resources."
    )
    environment: _Texts = Field(default_factory=dict, description="More variables, by name; win over `container.env`.")
    container: _Container = Field(
        default_factory=dict,
        description="The job's container: any field but its command. Mage's container_config, too.",
    )
    pod: _Pod = Field(default_factory=dict, description="The job's pod: any field but its containers.")
    job: _Job = Field(default_factory=dict, description="The Job: any field but its template.")
    metadata: _Metadata = Field(
        default_factory=dict, description="Labels and annotations of the Job and its pods. Its name is the mesh's."
    )
    sidecars: _Containers = Field(
        (), description="Containers that run beside the job's and end with it (init containers that restart always)."
    )
    queue_name: str | None = Field(
        None, description="The Kueue queue that admits the Job, which is made suspended then."
    )
    config_file: str | None = Field(
        None, description="Ignored, as in Mage: the file is the one that the resolver's K8S_CONFIG_FILE names."
    )
    grace_period: int = Field(30, ge=0, description="Seconds between TERM and KILL when the job is stopped.")
    patch: tuple[dict[str, Any], ...] = Field(
        (),
        description="Changes to the finished manifest: a strategic merge patch, operations of a JSON patch (RFC 6902), "
        "or a list of both.",
    )
    url: str | None = Field(
        None,
        description="Where a person can look at the job, with {namespace}, {name}, {project}, {run}, {block} … in it.",
    )

    @classmethod
    def canonical(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return one level's configuration in the one spelling in which levels are merged (see `spelling`)."""
        return spelling.canonical(config, cls.model_fields)

    @classmethod
    def keys(cls) -> Collection[str]:
        """Name all that may be written at the top."""
        return (*cls.model_fields, "container_config", *spelling.SHORTHANDS)

    @classmethod
    def asked_besides(cls, path: str, config: Mapping[str, Any]) -> Iterable[Ask]:
        """Return what the containers beside the job's ask for (see `asking`)."""
        return asked_besides(path, config)

    @field_validator("patch")
    @classmethod
    def _is_patch(cls, parts: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if reason := next(filter(None, map(wrong, parts)), None):
            raise ValueError(reason)
        return parts

    @field_validator("url")
    @classmethod
    def _has_known_placeholders(cls, template: str | None) -> str | None:
        for name in re.findall(r"\{(\w*)\}", template or ""):
            if name not in PLACEHOLDERS:
                raise ValueError(f"unknown placeholder {{{name}}}, known: {', '.join(PLACEHOLDERS)}")
        return template

    @classmethod
    def canonical_paths(cls, path: str) -> tuple[str, ...]:
        """Return where in the canonical spelling all that is said at a dotted path can be."""
        return spelling.canonical_paths(path, cls.model_fields)

"""What jobs inherit where their configuration says nothing: the service that GCP_SERVICE_NAME names, as in Mage.

Its template is read once for each project and region. Of a service with several containers it is the one that has the
port, or the first: a job runs its command once (Mage gives it to all containers, and runs it as often).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

Json = Mapping[str, Any]

_OF_TASK: Final = ("service_account", "execution_environment", "encryption_key", "vpc_access")
_OF_CONTAINER: Final = ("image", "working_dir")
_MESHES: Final = "RUNMESH_"
"""Begins the variables of a worker's own, credentials of the mesh among them."""


@dataclass(frozen=True, slots=True)
class Base:
    """The template that jobs take after, as the API has it; without a service it is empty."""

    task: Json = field(default_factory=dict)
    container: Json = field(default_factory=dict)
    env: Sequence[Json] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Json] = ()
    volume_mounts: Sequence[Json] = ()

    @classmethod
    def of(cls, template: Json) -> Self:
        """Return what a service's template has for jobs."""
        containers = template.get("containers") or [{}]
        main: Json = next((each for each in containers if each.get("ports")), containers[0])
        return cls(
            task={name: template[name] for name in _OF_TASK if template.get(name)},
            container={name: main[name] for name in _OF_CONTAINER if main.get(name)},
            env=tuple(each for each in main.get("env") or () if not each["name"].startswith(_MESHES)),
            limits=dict((main.get("resources") or {}).get("limits") or {}),
            volumes=tuple(template.get("volumes") or ()),
            volume_mounts=tuple(main.get("volume_mounts") or ()),
        )

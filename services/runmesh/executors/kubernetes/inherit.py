"""What a Job inherits where its configuration says nothing: from the pod that the worker itself runs in, as in Mage.

The mesh's own settings (RUNMESH_*, NATS credentials among them, files as well) and the token of the worker's service
account are not among it. What comes by ``envFrom`` can't be told apart: it is inherited whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Self

Json = Mapping[str, Any]

_OF_PODS: Final = ("tolerations", "nodeSelector", "schedulerName", "imagePullSecrets")
_PRIVATE: Final = "RUNMESH_"
_OF_NATS: Final = f"{_PRIVATE}NATS_"
_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where every pod gets one of its own


@dataclass(frozen=True, slots=True)
class Base:
    """The workload that Jobs take after. Outside a cluster it is empty."""

    namespace: str = "default"
    image: str | None = None
    env: tuple[Json, ...] = ()
    env_from: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    volume_mounts: tuple[Json, ...] = ()
    pod: Json = field(default_factory=dict)
    """Fields of the pod's spec, such as its tolerations."""

    @classmethod
    def of_pod(cls, pod: Json, container: str | None = None) -> Self:
        """Take what is inherited from a pod (raw JSON), and from its container of this name, else from the first."""
        spec = pod["spec"]
        found = next((each for each in spec["containers"] if each["name"] == container), spec["containers"][0])
        return cls(
            namespace=pod["metadata"].get("namespace", "default"),
            image=found.get("image"),
            env=tuple(each for each in found.get("env") or () if not each["name"].startswith(_PRIVATE)),
            env_from=tuple(found.get("envFrom") or ()),
            volumes=tuple(spec.get("volumes") or ()),
            volume_mounts=tuple(each for each in found.get("volumeMounts") or () if not _is_secret(each, found)),
            pod={key: spec[key] for key in _OF_PODS if spec.get(key)},
        )


def _is_secret(mount: Json, container: Json) -> bool:
    """Tell whether a mount holds the worker's own token, or a file that it connects to NATS with."""
    settings = (each for each in container.get("env") or () if each["name"].startswith(_OF_NATS))
    files = (PurePosixPath(each.get("value") or "") for each in settings)
    return mount["mountPath"] == _TOKEN or any(file.is_relative_to(mount["mountPath"]) for file in files)


def joined(own: Iterable[Json], inherited: Iterable[Json], name: str) -> list[Json]:
    """Return what is configured, and what is inherited unless something configured has the same `name`."""
    configured = list(own)
    taken = {each.get(name) for each in configured}
    return [*configured, *(each for each in inherited if each.get(name) not in taken)]

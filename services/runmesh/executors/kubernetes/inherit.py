"""What a Job inherits where its configuration says nothing: from the pod that the worker itself runs in, as in Mage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Base:
    """The workload that Jobs take after. Outside a cluster it is empty."""

    namespace: str = "default"
    image: str | None = None
    env: tuple[Mapping[str, Any], ...] = ()
    env_from: tuple[Mapping[str, Any], ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    pod: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod's spec: tolerations, nodeSelector, schedulerName, imagePullSecrets."""

    @classmethod
    def of_pod(cls, pod: Mapping[str, Any], container: str | None = None) -> Self:
        """Take what is inherited from a pod (raw JSON), and from the container of this name, else from its first."""
        spec = pod["spec"]
        found = next((each for each in spec["containers"] if each["name"] == container), spec["containers"][0])
        return cls(
            namespace=pod["metadata"].get("namespace", "default"),
            image=found.get("image"),
            env=tuple(found.get("env") or ()),
            env_from=tuple(found.get("envFrom") or ()),
            volumes=tuple(spec.get("volumes") or ()),
            volume_mounts=tuple(found.get("volumeMounts") or ()),
            pod={key: spec[key] for key in _INHERITED if spec.get(key)},
        )


_INHERITED = ("tolerations", "nodeSelector", "schedulerName", "imagePullSecrets")

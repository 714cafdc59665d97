"""Task definitions: which one a task has, and those that are made for it, once for each content (pure).

ECS can't override a container's image or secrets, only its definition has them: so such a task gets a definition of its
own, taken from the one it names. Its family is the digest of its content, so nobody registers it twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runmesh.errors import Rejected
from runmesh.executors.amazon.ecs.config import Config

Json = Mapping[str, Any]

_REGISTERED: Final = frozenset(
    (
        *("taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes", "placementConstraints"),
        *("requiresCompatibilities", "cpu", "memory", "pidMode", "ipcMode", "proxyConfiguration"),
        *("inferenceAccelerators", "ephemeralStorage", "runtimePlatform", "enableFaultInjection"),
    )
)
"""What RegisterTaskDefinition takes of what DescribeTaskDefinition tells."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a container's output is in CloudWatch."""

    group: str
    prefix: str
    region: str | None

    def stream(self, container: str, task_id: str) -> str:
        """Return the stream of one task."""
        return f"{self.prefix}/{container}/{task_id}"


def container_of(definition: Json, config: Config, inherited: str | None = None) -> str:
    """Return the container that runs the command. Raises `Rejected` if there is none of this name."""
    names: list[str] = [each["name"] for each in definition["containerDefinitions"]]
    usual = inherited if inherited and inherited in names else names[0]
    wanted = config.container_name or usual
    if wanted not in names:
        raise Rejected(f"the task definition has no container {wanted!r}, it has {', '.join(names)}")
    return wanted


def derived(definition: Json, container: str, config: Config) -> dict[str, Any]:
    """Return a definition with the configuration's image and secrets in one container."""
    found = {name: value for name, value in definition.items() if name in _REGISTERED and value not in (None, [], {})}
    found["containerDefinitions"] = [
        _container(each, config) if each["name"] == container else each for each in found["containerDefinitions"]
    ]
    if config.execution_role_arn:
        found["executionRoleArn"] = config.execution_role_arn
    return found


def _container(container: Json, config: Config) -> Json:
    kept = [each for each in container.get("secrets") or () if each["name"] not in config.secrets]
    secrets = [*kept, *({"name": name, "valueFrom": arn} for name, arn in config.secrets.items())]
    image = {"image": config.image} if config.image else {}
    plain = [each for each in container.get("environment") or () if each["name"] not in config.secrets]
    return {**container, "environment": plain, "secrets": secrets, **image}


def family(definition: Json, mesh: str) -> str:
    """Return the family of a definition of ours: the same content has the same."""
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True, default=str).encode()).hexdigest()[:24]
    legal = "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "-" for each in mesh)
    return f"runmesh-{legal[:100]}-{digest}"


def log_place(definition: Json, container: str) -> LogPlace | None:
    """Return where a container's output goes; None if that is not CloudWatch, or nobody can say in which stream."""
    found: Json = next((each for each in definition["containerDefinitions"] if each["name"] == container), {})
    how = found.get("logConfiguration") or {}
    options = how.get("options") or {}
    if how.get("logDriver") != "awslogs" or "awslogs-group" not in options or "awslogs-stream-prefix" not in options:
        return None
    return LogPlace(options["awslogs-group"], options["awslogs-stream-prefix"], options.get("awslogs-region"))

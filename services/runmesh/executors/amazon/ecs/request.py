"""From a task to the arguments of RunTask (pure).

They agree with Mage's, field by field, and say more: token, tags, `startedBy`, environment. ECS takes at most 8,192
characters of overrides, the command and every variable included.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.amazon.ecs import naming
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.inherit import Base
from runmesh.executors.amazon.ecs.shapes import ContainerOverride
from runmesh.platforms.identity import told
from runmesh.platforms.shapes import said

MOST_CHARACTERS: Final = 8192

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """The definition and the container that run a task, as the API knows them."""

    definition: str
    container: str


def run_task(task: Task[Config], base: Base, target: Target, *, mesh: str, pool: str) -> Json:
    """Return the arguments. Raises `Rejected` for what ECS would never take."""
    config = task.config
    token = naming.token(mesh, task.key)
    arguments = {
        "cluster": cluster(task, base),
        "count": 1,
        "clientToken": token,
        "startedBy": token,
        "enableExecuteCommand": config.enable_execute_command,
        "networkConfiguration": _network(config, base),
        "propagateTags": "TASK_DEFINITION",
        "tags": naming.as_list(naming.tags(task, mesh=mesh, pool=pool)),
        "taskDefinition": target.definition,
        "overrides": overrides(task, target.container),
        "group": config.group,
        "placementConstraints": [said(each) for each in config.placement_constraints],
        "placementStrategy": [said(each) for each in config.placement_strategy],
        **_placed(config),
    }
    return {name: value for name, value in arguments.items() if value not in (None, [], {})}


def inherits(config: Config) -> bool:
    """Whether a configuration leaves anything to the worker's own task."""
    network = config.network_configuration or (config.subnets and config.security_groups)
    return not (config.cluster and config.task_definition and network)


def cluster(task: Task[Config], base: Base) -> str:
    """Return the cluster: the account's default one if nothing says which."""
    return task.config.cluster or base.cluster or "default"


def overrides(task: Task[Config], container: str) -> Json:
    """Return what is different from the definition. Raises `Rejected` if it is too long."""
    found = _overrides(task, container)
    _check_length(found)
    return found


def fits(task: Task[Config], container: str) -> bool:
    """Whether ECS takes so many characters."""
    return _length(_overrides(task, container)) <= MOST_CHARACTERS


def _overrides(task: Task[Config], container: str) -> Json:
    config = task.config
    stated = said(config.overrides)
    others = [said(each) for each in config.overrides.containerOverrides if each.name != container]
    found = {
        "cpu": str(config.cpu),
        "memory": str(config.memory),
        "taskRoleArn": config.task_role_arn,
        "executionRoleArn": config.execution_role_arn,
        "ephemeralStorage": {"sizeInGiB": config.ephemeral_storage} if config.ephemeral_storage else None,
        **stated,
        "containerOverrides": [_container(task, container), *others],
    }
    return {name: value for name, value in found.items() if value is not None}


def _container(task: Task[Config], container: str) -> Json:
    config = task.config
    own = next((each for each in config.overrides.containerOverrides if each.name == container), None)
    stated = said(own) if own else {}
    gpus = [{"type": "GPU", "value": str(config.gpu)}] if config.gpu else []
    return {
        "cpu": config.cpu,
        "memory": config.memory,
        **({"resourceRequirements": gpus} if gpus else {}),
        **stated,
        "name": container,
        "command": list(task.command),
        "environment": [{"name": name, "value": value} for name, value in _variables(task, own).items()],
    }


def _variables(task: Task[Config], own: ContainerOverride | None) -> Mapping[str, str]:
    """Return the variables, the later wins: the container's, `environment`, the task's, ours."""
    stated = {each.name: each.value for each in (own.environment if own and own.environment else ())}
    return {**stated, **task.config.environment, **task.environment, **told(task)}


def _check_length(overrides: Json) -> None:
    if (length := _length(overrides)) <= MOST_CHARACTERS:
        return
    [first, *_] = overrides["containerOverrides"]
    command, variables = _length(first["command"]), _length(first["environment"])
    longest = max(first["environment"], key=_length)["name"] if variables > command else "the command"
    raise Rejected(
        f"ECS takes {MOST_CHARACTERS} characters of overrides, and these are {length}: {command} of the command, "
        f"{variables} of variables ({longest} is the longest); store what is long, and pass a reference "
        "(of run variables the mesh does so itself, if `remote_variables_dir` is a URL)"
    )


def _length(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _network(config: Config, base: Base) -> Json | None:
    if config.network_configuration:
        return said(config.network_configuration)
    subnets = config.subnets or base.subnets
    if not subnets:
        if config.on_fargate:
            raise Rejected("no subnets: set `subnets`, or run the worker in a task of ECS, whose network tasks inherit")
        return None
    vpc = {"subnets": list(subnets), "assignPublicIp": "ENABLED" if config.assign_public_ip else "DISABLED"}
    groups = config.security_groups or base.security_groups
    return {"awsvpcConfiguration": {**vpc, **({"securityGroups": list(groups)} if groups else {})}}


def _placed(config: Config) -> Json:
    """Say on what it runs: only one of the two may be said, and a version of the platform only for Fargate."""
    version = {"platformVersion": config.platform_version} if config.on_fargate else {}
    if config.capacity_provider_strategy:
        return {"capacityProviderStrategy": [said(each) for each in config.capacity_provider_strategy], **version}
    return {"launchType": config.launch_type, **version}

"""From a task to the container group that is asked for (pure)."""

from collections.abc import Iterable, Mapping
from typing import Any

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.azure import naming
from runmesh.executors.azure.config import Config
from runmesh.executors.azure.inherit import Base
from runmesh.executors.azure.naming import Place
from runmesh.executors.azure.options import CONTAINER_GROUP, RESOURCE_GROUP, SUBSCRIPTION, Options
from runmesh.platforms.identity import told
from runmesh.platforms.shapes import Shape, said

Json = dict[str, Any]


def place(config: Config, options: Options) -> Place:
    """Return where a task's group is. Raises `Rejected` if nothing says."""
    subscription = config.subscription_id or options.subscription
    resource_group = config.resource_group_name or options.resource_group
    if not subscription:
        raise Rejected(f"no subscription: set `subscription_id`, or {SUBSCRIPTION}")
    if not resource_group:
        raise Rejected(f"no resource group: set `resource_group_name`, or {RESOURCE_GROUP}")
    return Place(subscription, resource_group)


def location(config: Config, base: Base) -> str:
    """Return the region. Raises `Rejected` if nothing says."""
    if not (found := config.location or base.location):
        raise Rejected(f"no location: set `location`, or name a group to take after ({CONTAINER_GROUP})")
    return found


def os_type(config: Config, base: Base) -> str:
    """Return the operating system."""
    return config.os_type or str(base.properties.get("osType", "Linux"))


def container_group(task: Task[Config], base: Base, *, mesh: str, pool: str, storage_key: str | None) -> Json:
    """Return the group as the API takes it. Raises `Rejected` for what Azure would never take."""
    config = task.config
    found = {
        "location": location(config, base),
        "tags": naming.tags(task, base.tags, mesh=mesh, pool=pool),
        "identity": said(config.identity) if config.identity else base.identity,
        "zones": list(config.zones or base.zones),
        "properties": _properties(task, base, storage_key),
    }
    return _filled(found)


def _properties(task: Task[Config], base: Base, storage_key: str | None) -> Json:
    config = task.config
    workspace = {"logAnalytics": said(config.log_analytics)} if config.log_analytics else None
    return _filled(
        {
            **base.properties,
            "osType": os_type(config, base),
            "restartPolicy": config.restart_policy,
            "priority": config.priority,
            "containers": [{"name": naming.CONTAINER, "properties": _container(task, base)}],
            "initContainers": list(base.inits),
            "volumes": [_keyed(each, storage_key) for each in _joined(config.volumes, base.volumes, "name")],
            "imageRegistryCredentials": _joined(config.image_registry_credentials, base.registries, "server"),
            **({"subnetIds": [{"id": each} for each in config.subnet_ids]} if config.subnet_ids else {}),
            **({"dnsConfig": said(config.dns)} if config.dns else {}),
            "diagnostics": workspace,
        }
    )


def _container(task: Task[Config], base: Base) -> Json:
    config = task.config
    image = config.image or base.image
    if not image:
        raise Rejected(f"no image: set `image`, or name a group to take after ({CONTAINER_GROUP})")
    gpu = {"gpu": said(config.gpu)} if config.gpu else {}
    requests = {"cpu": config.cpu, "memoryInGB": config.memory, **gpu}
    limits = {"limits": {**said(config.limits), **gpu}} if config.limits else {}
    return _filled(
        {
            "image": image,
            "command": list(task.command),
            "environmentVariables": _variables(task, base),
            "resources": {"requests": requests, **limits},
            "volumeMounts": _joined(config.volume_mounts, base.mounts, "mountPath"),
        }
    )


def _variables(task: Task[Config], base: Base) -> list[Json]:
    """Return the variables, each once; the later wins: inherited, `environment`, secure ones, the task's, ours."""
    found = {each["name"]: dict(each) for each in base.variables}
    found |= {name: {"name": name, "value": value} for name, value in task.config.environment.items()}
    found |= {name: {"name": name, "secureValue": value} for name, value in task.config.secure_environment.items()}
    found |= {name: {"name": name, "value": value} for name, value in {**task.environment, **told(task)}.items()}
    return list(found.values())


def _joined(own: Iterable[Shape], inherited: Iterable[Mapping[str, Any]], name: str) -> list[Json]:
    """Return what is configured, and what is inherited unless something configured has the same `name`."""
    configured = [said(each) for each in own]
    taken = {each.get(name) for each in configured}
    return [*configured, *(dict(each) for each in inherited if each.get(name) not in taken)]


def _keyed(volume: Json, storage_key: str | None) -> Json:
    """Return a volume with the key of its storage account, which Azure never tells."""
    share = volume.get("azureFile")
    if not share or share.get("storageAccountKey"):
        return volume
    if not storage_key:
        raise Rejected(
            f"volume {volume['name']!r}: no key for storage account {share['storageAccountName']!r}: "
            "set AZURE_STORAGE_ACCOUNT_KEY for the worker, or `storage_account_key`"
        )
    return {**volume, "azureFile": {**share, "storageAccountKey": storage_key}}


def _filled(found: Mapping[str, Any]) -> Json:
    return {name: value for name, value in found.items() if value not in (None, [], {})}

"""From a task to the Job that runs it: the manifest as the API takes it, in JSON.

What the configuration says wins over what is inherited, a patch over both; name, namespace and labels by which the mesh
knows its Jobs are nobody else's to set. Volumes that no container mounts are left out, as in Mage.
"""

from collections.abc import Mapping
from typing import Any, Final

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base, joined
from runmesh.executors.kubernetes.patching import patched
from runmesh.executors.kubernetes.variables import literal, variables

_QUEUE: Final = "kueue.x-k8s.io/queue-name"
_CONTAINER: Final = "mage-job-container"
"""Mage's name for it."""


def namespace(task: Task[Config], base: Base) -> str:
    """Return the namespace of a task's Job."""
    return task.config.namespace or base.namespace


def manifest(task: Task[Config], base: Base, *, mesh: str, pool: str) -> dict[str, Any]:
    """Return the Job that runs a task. Raises `Rejected` for what no cluster would take."""
    config = task.config
    template = {"metadata": _metadata(config), "spec": _pod(task, base)}
    spec = {"backoffLimit": 0, **_suspended(config), **_set(config.job), "template": template}
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _queued(config, _metadata(config)),
        "spec": spec,
    }
    if config.patch:
        job = patched(job, config.patch)
    name, where = naming.job_name(task, mesh), namespace(task, base)
    _sign(job, task, mesh, pool)
    job["metadata"] |= {"name": name, "namespace": where}
    if url := naming.url(task, name, where):
        job["metadata"]["annotations"] |= {naming.URL: url}
    _drop_unmounted(job)
    return job


def _sign(job: dict[str, Any], task: Task[Config], mesh: str, pool: str) -> None:
    """Write upon the Job and its pods whose they are."""
    try:
        for thing in (job, job["spec"]["template"]):
            metadata = thing.setdefault("metadata", {})
            metadata["labels"] = {**metadata.get("labels", {}), **naming.labels(task, mesh=mesh, pool=pool)}
            metadata["annotations"] = {**metadata.get("annotations", {}), **naming.annotations(task)}
    except (KeyError, TypeError, AttributeError):
        raise Rejected("patch: it leaves no Job with a pod template") from None


def _metadata(config: Config) -> dict[str, Any]:
    return {key: value for key, value in _set(config.metadata).items() if key not in ("name", "generateName")}


def _queued(config: Config, metadata: dict[str, Any]) -> dict[str, Any]:
    if config.queue_name is None:
        return metadata
    return {**metadata, "labels": {**metadata.get("labels", {}), _QUEUE: config.queue_name}}


def _suspended(config: Config) -> dict[str, Any]:
    """A Job with a queue must begin suspended: Kueue lets it go on when there is room."""
    return {"suspend": True} if config.queue_name else {}


def _pod(task: Task[Config], base: Base) -> dict[str, Any]:
    config = task.config
    sidecars = [{**sidecar, "restartPolicy": "Always"} for sidecar in config.sidecars]
    before = [*sidecars, *config.pod.get("initContainers", ())]
    return {
        "restartPolicy": "Never",
        **base.pod,
        **_set(config.pod),
        **({"initContainers": before} if before else {}),
        "containers": [_container(task, base)],
        "serviceAccountName": config.service_account_name,
        "terminationGracePeriodSeconds": config.grace_period,
        "volumes": joined(config.pod.get("volumes", ()), base.volumes, "name"),
    }


def _container(task: Task[Config], base: Base) -> dict[str, Any]:
    config, container = task.config, _set(task.config.container)
    image = container.get("image") or base.image
    if not image:
        raise Rejected("no image: set `image`, or run the worker in a pod, whose image its jobs inherit")
    mine = container.get("envFrom", [])
    return {
        "name": _CONTAINER,
        "imagePullPolicy": "IfNotPresent",
        # The last lines of its output, where it leaves no message: they are there even if its log can't be read.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **container,
        "image": image,
        "command": [literal(argument) for argument in task.command],
        "env": variables(task, base),
        "envFrom": [*mine, *(each for each in base.env_from if each not in mine)],
        "volumeMounts": joined(container.get("volumeMounts", ()), base.volume_mounts, "mountPath"),
        "resources": _resources(config),
    }


def _resources(config: Config) -> dict[str, Any]:
    found = {"limits": config.resource_limits, "requests": config.resource_requests}
    return {**config.container.get("resources", {}), **{kind: dict(each) for kind, each in found.items() if each}}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something."""
    return {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def _drop_unmounted(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    mounted = {
        each.get("name")
        for container in (*pod.get("containers", ()), *pod.get("initContainers", ()))
        for each in (*container.get("volumeMounts", ()), *container.get("volumeDevices", ()))
    }
    pod["volumes"] = [volume for volume in pod.get("volumes") or () if volume["name"] in mounted]

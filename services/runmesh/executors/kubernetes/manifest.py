"""From a task to the Job that runs it: the manifest as the API takes it, in JSON."""

from typing import Any

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base


def namespace(task: Task[Config], base: Base) -> str:
    """Return the namespace of a task's Job."""
    return task.config.namespace or base.namespace


def manifest(task: Task[Config], base: Base, *, mesh: str, pool: str) -> dict[str, Any]:
    """Return the Job that runs a task. Raises `Rejected` for what no cluster would take."""
    config = task.config
    image = config.image or config.container.get("image") or base.image
    if not image:
        raise Rejected("no image: set `image`, or run the worker in a pod whose image the jobs can have")
    labels = naming.labels(task, mesh=mesh, pool=pool)
    metadata = {
        "name": naming.job_name(task, mesh),
        "namespace": namespace(task, base),
        "labels": labels,
        "annotations": naming.annotations(task),
    }
    container = {
        "name": "mage-job-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(task.command),
        "env": [
            {"name": name, "value": value}
            for name, value in {**config.environment, **task.environment, **_ours(task)}.items()
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod = {
        "containers": [container],
        "restartPolicy": "Never",
        "serviceAccountName": config.service_account_name or "default",
        "terminationGracePeriodSeconds": config.grace_period,
    }
    spec = {"backoffLimit": 0, "template": {"metadata": {**metadata}, "spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _ours(task: Task[Config]) -> dict[str, str]:
    return {
        "RUNMESH_RUN": task.run,
        "RUNMESH_BLOCK": task.block,
        "RUNMESH_KEY": task.key,
        "RUNMESH_ATTEMPT": str(task.attempt),
    }

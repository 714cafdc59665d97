"""From a task to the job that runs it, as the API takes it in JSON (pure).

One job has one execution with one task, started as the job is created (`start_execution_token`). What the configuration
says wins over what is inherited.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.google import naming
from runmesh.executors.google.config import Config
from runmesh.executors.google.inherit import Base
from runmesh.executors.google.sizes import DEFAULT_CPU, DEFAULT_MEMORY, cpus, mebibytes, wrong_size
from runmesh.platforms.identity import told
from runmesh.platforms.shapes import said

LONGEST: Final = 7 * 86400
"""Seconds that Cloud Run lets a task run."""
LONGEST_WITH_GPU: Final = 3600
LONGEST_VARIABLE: Final = 32 * 1024
"""Bytes of one variable."""
_MARGIN: Final = 60
"""Seconds by which Cloud Run's own limit is behind the mesh's, which knows why a job was stopped."""
_GPU: Final = "nvidia.com/gpu"

Json = dict[str, Any]


def job(task: Task[Config], base: Base, *, mesh: str, pool: str) -> Json:
    """Return the job. Raises `Rejected` for what Cloud Run would never take."""
    labels, annotations = naming.labels(task, mesh=mesh, pool=pool), naming.annotations(task)
    execution = {"labels": labels, "parallelism": 1, "task_count": 1, "template": _task(task, base)}
    return {
        "labels": labels,
        "annotations": annotations,
        "launch_stage": "BETA",  # as in Mage: what is in preview may be used
        "start_execution_token": naming.TOKEN,
        "template": execution,
    }


def _task(task: Task[Config], base: Base) -> Json:
    config = task.config
    stated = {
        "service_account": config.service_account,
        "execution_environment": config.execution_environment,
        "encryption_key": config.encryption_key,
        "vpc_access": said(config.vpc_access) if config.vpc_access else None,
        "node_selector": {"accelerator": config.gpu_type} if config.gpu else None,
        "gpu_zonal_redundancy_disabled": True if config.gpu else None,
        "volumes": _joined(map(said, config.volumes), base.volumes, "name"),
    }
    return {
        **base.task,
        **{name: value for name, value in stated.items() if value},
        "containers": [_container(task, base)],
        "max_retries": config.max_retries,
        "timeout": f"{_seconds(task)}s",
    }


def _container(task: Task[Config], base: Base) -> Json:
    config = task.config
    stated = {
        "image": config.image,
        "working_dir": config.working_dir,
        "env": _variables(task, base),
        "volume_mounts": _joined(map(said, config.volume_mounts), base.volume_mounts, "mount_path"),
    }
    found = {**base.container, **{name: value for name, value in stated.items() if value}}
    if not found.get("image"):
        raise Rejected("no image: set `image`, or GCP_SERVICE_NAME to a service that jobs take after")
    return {**found, "command": list(task.command), "resources": {"limits": _limits(config, base)}}


def _limits(config: Config, base: Base) -> Json:
    inherited = {name: value for name, value in base.limits.items() if name in ("cpu", "memory")}
    cpu = str(config.cpu or _whole(inherited.get("cpu")))
    memory = config.memory or inherited.get("memory") or f"{DEFAULT_MEMORY}Mi"
    try:
        size = mebibytes(memory)
    except ValueError as error:
        raise Rejected(f"the service's memory, {memory!r}: {error}") from error
    if wrong := wrong_size(cpus(cpu), size, gpu=bool(config.gpu)):
        raise Rejected(f"{wrong[0]}: {wrong[1]}")
    return {"cpu": cpu, "memory": memory, **({_GPU: str(config.gpu)} if config.gpu else {})}


def _whole(cpu: str | None) -> int:
    """Return the CPUs of a service, of which there may be less than one."""
    try:
        return cpus(cpu) if cpu else DEFAULT_CPU
    except ValueError:
        return DEFAULT_CPU


def _seconds(task: Task[Config]) -> int:
    most = LONGEST_WITH_GPU if task.config.gpu else LONGEST
    return min(most, int(task.timeout) + _MARGIN) if task.timeout else most


def _variables(task: Task[Config], base: Base) -> list[Mapping[str, Any]]:
    """Return the variables, each once; the later wins: inherited, `secrets`, `environment`, the task's, ours."""
    found = {each["name"]: each for each in (*base.env, *_named(task))}
    for name, each in found.items():
        if (size := len(each.get("value", "").encode(errors="replace"))) > LONGEST_VARIABLE:
            raise Rejected(
                f"Cloud Run takes {LONGEST_VARIABLE} bytes of a variable, and {name} has {size}; store what is long, "
                "and pass a reference (`--runtime-vars` reads a URL)"
            )
    return list(found.values())


def _named(task: Task[Config]) -> Iterator[Mapping[str, Any]]:
    for name, reference in task.config.secrets.items():
        secret, _, version = reference.partition(":")
        yield {"name": name, "value_source": {"secret_key_ref": {"secret": secret, "version": version or "latest"}}}
    for name, value in {**task.config.environment, **task.environment, **told(task)}.items():
        yield {"name": name, "value": value}


def _joined(stronger: Iterator[Json], weaker: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Join two lists; of what has the same name, the stronger one stays."""
    return list({each[name]: each for each in (*weaker, *stronger)}.values())

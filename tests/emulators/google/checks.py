"""What Cloud Run refuses of a job that is to be created."""

import re
from typing import Any, Final

from tests.emulators.google.refusals import GoogleError

_CPUS: Final = {"1": (512, 4096), "2": (512, 8192), "4": (2048, 16384), "6": (4096, 24576), "8": (4096, 32768)}
_LONGEST: Final = 7 * 86400
_WITH_GPU: Final = 3600
_UNITS: Final = {"Mi": 1, "Gi": 1024, "M": 0.9537, "G": 953.7}


def check(parent: str, job_id: str, job: Any) -> None:
    """Raise what Cloud Run says of it."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", job_id):
        raise _invalid(f"job_id: {job_id!r}: only lowercase, digits, and hyphens; must begin with letter")
    if len(job_id) + len(job.start_execution_token) >= 63:
        raise _invalid("The sum of job name and token length must be fewer than 63 characters.")
    for labels in (job.labels, job.template.labels):
        _check_labels(labels)
    task = job.template.template
    limits = dict(task.containers[0].resources.limits)
    if task.timeout.seconds > (_WITH_GPU if "nvidia.com/gpu" in limits else _LONGEST):
        raise _invalid("job.template.template.timeout: out of range")
    _check_container(parent, task.containers[0], limits)


def _check_labels(labels: Any) -> None:
    for name, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise _invalid(f"labels: {name}={value}: not a label")


def _check_container(parent: str, container: Any, limits: dict[str, str]) -> None:
    if not container.image:
        raise _invalid("job.template.template.containers[0].image: must be set")
    cpu, memory = limits.get("cpu", "1"), limits.get("memory", "512Mi")
    unit = memory.lstrip("0123456789.")
    least, most = _CPUS.get(cpu, (1, 0))
    if not least <= float(memory.removesuffix(unit)) * _UNITS.get(unit, 0) <= most:
        raise _invalid(f"Invalid value specified for container memory or cpu: {cpu}, {memory}")
    for each in container.env:
        if len(each.value.encode()) > 32768 or not each.name:
            raise _invalid(f"env {each.name}: too long")
    if "denied" in container.image:
        told = f"Permission 'artifactregistry.repositories.downloadArtifacts' denied on {container.image} in {parent}"
        raise GoogleError("PERMISSION_DENIED", told)


def _invalid(message: str) -> GoogleError:
    return GoogleError("INVALID_ARGUMENT", message)

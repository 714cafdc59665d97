"""Where a task's things are: its project on the worker's disk, its folder in S3, the logs of EMR."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runmesh.errors import Invalid, Rejected
from runmesh.executor import Task
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.step import is_native
from runmesh.projects import load_project
from runmesh.projects.variables import PLACEHOLDER

STAGING: Final = "RUNMESH_EMR_STAGING"
_PROJECT: Final = "RUNMESH_PROJECT_PATH"


def project_of(task: Task[Config]) -> Path | None:
    """Return the folder of a task's project, where the worker can read it; None if its command doesn't say."""
    if is_native(task):
        return Path(task.command[1])
    path = task.environment.get(_PROJECT)
    return Path(path) if path else None


def staging(task: Task[Config], environment: Mapping[str, str]) -> str:
    """Return the first of: `staging`, RUNMESH_EMR_STAGING, the project's `remote_variables_dir`. Raises `Rejected`."""
    return (task.config.staging or environment.get(STAGING) or _remote_variables(task, environment)).rstrip("/")


def _remote_variables(task: Task[Config], environment: Mapping[str, str]) -> str:
    project = project_of(task)
    try:
        found = load_project(project, environment).remote_variables_dir if project else None
    except Invalid as error:
        raise Rejected(f"the worker can't read the project {project}: {error}") from error
    if not found or found == PLACEHOLDER:
        raise Rejected("EMR needs a place in S3: set `remote_variables_dir: s3://bucket/prefix` in metadata.yaml")
    return found


def logs(config: Config, staged: str) -> str:
    """Return where EMR puts its logs; Mage's place."""
    return config.log_uri or f"{staged}/logs"

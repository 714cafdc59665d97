"""Where a pipeline's variables are: the outputs of its blocks, and the outcomes of its tasks."""

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runmesh.errors import Invalid, Problem
from runmesh.projects.model import Pipeline, Project
from runmesh.projects.secret import holds_secret

PLACEHOLDER: Final = "s3://bucket/path_prefix"
"""What `mage init` writes as `remote_variables_dir`: nobody's."""


def variables_of(
    project: Project, pipeline: Pipeline, environment: Mapping[str, str], override: str | None = None
) -> str:
    """Return the directory or URL of a pipeline's variables.

    The first of: `override`; `remote_variables_dir` of the pipeline or the project; `MAGE_DATA_DIR`; `variables_dir`
    of the pipeline or the project; `~/.mage_data`. As Mage: the project's name is added to an absolute directory, a
    relative one is the project's own, a URL is taken as it is. Raises `Invalid` for a template that can't be rendered.
    """
    remote = _rendered(project, pipeline.remote_variables_dir) or project.remote_variables_dir
    local = environment.get("MAGE_DATA_DIR") or _rendered(project, pipeline.variables_dir) or project.variables_dir
    chosen = override or (remote if remote != PLACEHOLDER else None) or local or "~/.mage_data"
    if holds_secret(chosen):
        raise Invalid(Problem("variables_dir", "secret functions are not available here", "use env_var"))
    if "://" in chosen:
        return chosen.rstrip("/")
    directory = Path(chosen).expanduser()
    if directory.is_absolute() and directory != project.path:
        return str(directory / project.name)
    return os.path.abspath(project.path / directory)  # noqa: PTH100 - Mage doesn't follow symbolic links either


def outcome_path(variables: str, run: str, key: str) -> str:
    """Return where the outcome of a task is, below the variables directory of its pipeline."""
    return f"{variables}/.runmesh/{run}/{key}.json"


def _rendered(project: Project, text: str | None) -> str | None:
    return project.templates.render(text, where="variables_dir") if text else None

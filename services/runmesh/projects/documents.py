"""The documents of one run: its project, its pipeline and the pipeline's triggers.

A request may bring its own pipeline. If that has command blocks only, there need not even be a project: nothing of its
folder would be used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runmesh.errors import Invalid, NotFound, Problem
from runmesh.projects.commands import COMMAND
from runmesh.projects.files import METADATA
from runmesh.projects.model import Pipeline, Project
from runmesh.projects.reading import load_document, load_pipeline, load_project
from runmesh.projects.templates import Templates
from runmesh.projects.triggers import Triggers, load_triggers


def load_documents(
    path: Path, pipeline: str | Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Project, Pipeline, Triggers]:
    """Read a pipeline, given by name or as a document, and its project in `path`; raises `Invalid`."""
    if isinstance(pipeline, str):
        project = load_project(path, environment)
        return project, load_pipeline(project, pipeline), load_triggers(project, pipeline)
    if (path / METADATA).exists():
        return load_project(path, environment), load_document(pipeline), Triggers()
    missing = NotFound(Problem("project", f"there is no project {path.name!r}"))
    loaded = load_document(pipeline)
    return without_folder(path.absolute(), loaded, missing), loaded, Triggers()


def without_folder(path: Path, pipeline: Pipeline, missing: Invalid) -> Project:
    """Return the project of a request's own pipeline where there is no folder.

    Raises `missing`, extended by a hint, if the pipeline has any other block than command blocks.
    """
    if pipeline.blocks and all(block.type == COMMAND for block in pipeline.blocks.values()):
        return Project(path.name, path, {}, Templates({}), exists=False)
    problem, *others = missing.problems
    hint = ", ".join(filter(None, (problem.hint, "only a pipeline of command blocks needs none")))
    raise type(missing)(problem._replace(hint=hint), *others)

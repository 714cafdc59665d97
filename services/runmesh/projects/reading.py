"""From the documents on disk to `Project` and `Pipeline`.

A project's `metadata.yaml` is rendered as a whole, then read as YAML, and its strings are trimmed at the right (Mage's
RepoConfig). A pipeline's isn't rendered. All problems of a document are collected before they are raised.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runmesh.errors import Invalid, Problem
from runmesh.projects import files, yaml_text
from runmesh.projects.fields import Fields, Problems
from runmesh.projects.model import Pipeline, Project
from runmesh.projects.pipelines import read_pipeline
from runmesh.projects.templates import Templates

LARGEST_PIPELINE: Final = 4_000_000
"""Characters of a pipeline's document: enough for 10,000 blocks."""
_DIRECTORIES: Final = ("remote_variables_dir", "variables_dir", "variables_retention_period")
_OURS: Final = ("executor_type", "runtime")
_TEXTS: Final = ("cluster_type", "openai_api_key", "project_type", "project_uuid", "settings_backend")
_EXECUTORS: Final = (
    *("azure_container_instance_config", "ecs_config", "emr_config", "gcp_cloud_run_config", "k8s_executor_config"),
    "local_python_config",
)
_RUNS: Final = ("concurrency_config", "queue_config", "retry_config", "spark_config")
_SERVER: Final = ("ai_config", "features", "ldap_config", "logging_config", "notification_config", "pipelines")
_WORKSPACE: Final = ("workspace_config_defaults", "workspace_initial_metadata")


def find_project(projects_dir: Path, name: str) -> Path:
    """Return the folder of a project; raises `UnsafePath`, or `NotFound` with the nearest project there is."""
    return files.folder(projects_dir, name, "project")


def load_project(path: Path, environment: Mapping[str, str]) -> Project:
    """Read a project; `environment` is what its templates see. Raises `Invalid` for whatever is wrong with it."""
    templates = Templates(environment)
    text = files.read(files.inside(path, files.METADATA, where=files.METADATA), files.METADATA, yaml_text.LARGEST)
    document = _trimmed(yaml_text.parse(templates.render_document(text, where=files.METADATA), files.METADATA))
    problems = Problems(files.METADATA)
    document = _checked_project(_mapping(document if document is not None else {}, files.METADATA), problems)
    problems.raise_any()
    return Project(path.absolute().name, path.resolve(), document, templates, tuple(problems.warnings))


def load_document(document: Mapping[str, Any]) -> Pipeline:
    """Read an inline pipeline; raises `Invalid` for whatever is wrong with it."""
    return read_pipeline(_shallow(document), "pipeline", None)


def load_pipeline(project: Project, pipeline: str | Mapping[str, Any]) -> Pipeline:
    """Read a pipeline by its name, or an inline document; raises `Invalid` for whatever is wrong with it."""
    if not isinstance(pipeline, str):
        return load_document(pipeline)
    folder = files.folder(files.inside(project.path, "pipelines", where="pipelines"), pipeline, "pipeline")
    where = f"pipelines/{pipeline}/{files.METADATA}"
    text = files.read(files.inside(folder, files.METADATA, where=where), where, LARGEST_PIPELINE)
    document = yaml_text.parse(text, where, LARGEST_PIPELINE)
    if document is None:
        raise Invalid(Problem(where, "is empty"))
    return read_pipeline(_mapping(document, where), where, pipeline)


def _checked_project(document: dict[str, Any], problems: Problems) -> dict[str, Any]:
    fields = Fields(document, problems)
    texts = {key: fields.text(key) for key in (*_OURS, *_TEXTS, *_DIRECTORIES) if fields.has(key)}
    known = (*_EXECUTORS, *_RUNS, *_SERVER, *_WORKSPACE)
    configs = {key: fields.config(key) for key in known if fields.has(key)}
    fields.flag("help_improve_mage")
    fields.rest()
    return document | texts | configs


def _mapping(document: Any, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Invalid(Problem(where, "must be a mapping of keys to values"))
    return document


def _trimmed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _trimmed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trimmed(item) for item in value]
    return value.rstrip() if isinstance(value, str) else value


def _shallow(document: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse an inline document that is nested too deeply to be walked; YAML's depth is bounded while reading."""
    level: list[Any] = [document]
    for _ in range(yaml_text.DEEPEST + 1):
        inner = [item for item in level if isinstance(item, Mapping | list)]
        level = [item for outer in inner for item in (outer.values() if isinstance(outer, Mapping) else outer)]
        if not level:
            return dict(document)
    raise Invalid(Problem("pipeline", f"nested deeper than {yaml_text.DEEPEST} levels"))

"""Reading a Mage project: its documents, templates and block files. Knows nothing of NATS or executors.

Everything here is bounded, since documents and names come from outside, and whatever is wrong with them is `Invalid`.
"""

from typing import TYPE_CHECKING

from runmesh.projects.graph import check_graph, topological_order
from runmesh.projects.model import Block, Pipeline, Project
from runmesh.projects.reading import find_project, load_pipeline, load_project
from runmesh.projects.revisions import revision
from runmesh.projects.secret import holds_secret
from runmesh.projects.templates import Templates
from runmesh.projects.variables import outcome_path, variables_of

if TYPE_CHECKING:
    from runmesh.projects.cache import ProjectCache
    from runmesh.projects.retries import RetryPolicy

__all__ = [
    "Block",
    "Pipeline",
    "Project",
    "ProjectCache",
    "RetryPolicy",
    "Templates",
    "check_graph",
    "find_project",
    "holds_secret",
    "load_pipeline",
    "load_project",
    "outcome_path",
    "revision",
    "topological_order",
    "variables_of",
]


def __getattr__(name: str) -> object:
    # Lazily, because the runtime inside a job needs neither, and must start fast.
    if name == "ProjectCache":
        from runmesh.projects.cache import ProjectCache  # noqa: PLC0415

        return ProjectCache
    if name == "RetryPolicy":
        from runmesh.projects.retries import RetryPolicy  # noqa: PLC0415

        return RetryPolicy
    raise AttributeError(name)

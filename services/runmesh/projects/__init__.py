"""Reading a Mage project: its documents, templates and block files. Knows nothing of NATS or executors.

Everything here is bounded, since documents and names come from outside, and whatever is wrong with them is `Invalid`.
"""

from runmesh.projects.model import Block, Pipeline, Project
from runmesh.projects.templates import Templates, holds_secret, render

__all__ = ["Block", "Pipeline", "Project", "Templates", "holds_secret", "render"]

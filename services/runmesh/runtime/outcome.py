"""A task's outcome: what the mesh must know of a job besides its exit code, left beside the job's outputs.

It is written atomically, last thing before the job exits, to ``<variables>/.runmesh/<run>/<key>.json``. A job that
can't find its project, pipeline or block leaves none.
"""

import json
from collections.abc import Mapping
from typing import Any

import runmesh
from runmesh.runtime.places import place


class Outcome:
    """What a block did, gathered while it runs, or a whole pipeline."""

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings
        self.outputs: list[dict[str, Any]] = []
        """A single block's, described."""
        self.passed = 0
        self.failed = 0
        self.condition: Mapping[str, Any] | None = None
        """Whether the conditions were met; if not, which `block` said so, and the `reason`."""
        self.children: Mapping[str, Any] | None = None
        """How a dynamic block fans out: `count`, and `names` if they have any."""
        self.callbacks: list[str] = []
        """The statuses whose callbacks were run; of a whole pipeline, where no block is left to call back for."""
        self.error: str | None = None
        """Why the exit code isn't 0, in one line."""
        self.blocks: Mapping[str, Any] | None = None
        """A whole pipeline's: the state of each block, of one with children how many are in which."""

    @property
    def is_left_out(self) -> bool:
        """Whether the block didn't run, because its conditions weren't met."""
        return self.condition is not None and not self.condition["met"]

    def write(self, path: str, exit_code: int) -> None:
        """Write the document to a path or URL that `projects.outcome_path` returned."""
        document = {
            "exit_code": exit_code,
            "outputs": self.outputs,
            "tests": {"passed": self.passed, "failed": self.failed},
            "warnings": self.warnings,
            "runtime_version": runmesh.__version__,
            "callbacks": self.callbacks,
        }
        for name in ("condition", "children", "error", "blocks"):
            if (value := getattr(self, name)) is not None:
                document[name] = value
        place(path).write(path, json.dumps(document, ensure_ascii=False).encode(errors="replace"))

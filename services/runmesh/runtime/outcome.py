"""A task's outcome: what the mesh must know of a job besides its exit code, left beside the job's outputs.

It is written atomically, last thing before the job exits with 0 or 1, to ``<variables>/.runmesh/<run>/<key>.json``.
"""

import json
from typing import Any

import runmesh
from runmesh.runtime.places import place


class Outcome:
    """What a job did, gathered while it runs; `outputs` describes those of a single block."""

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings
        self.outputs: list[dict[str, Any]] = []
        self.passed = 0
        self.failed = 0

    def write(self, path: str, exit_code: int) -> None:
        """Write the document to a path or URL that `projects.outcome_path` returned."""
        document = {
            "exit_code": exit_code,
            "outputs": self.outputs,
            "tests": {"passed": self.passed, "failed": self.failed},
            "warnings": self.warnings,
            "runtime_version": runmesh.__version__,
        }
        place(path).write(path, json.dumps(document).encode())

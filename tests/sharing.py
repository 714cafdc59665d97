"""How tests are shared out to the processes of pytest-xdist, which calls `pytest_xdist_make_scheduler` (conftest.py).

What is expensive to make is made in one process only: tests that have something in common are one unit of work, and
so are the many short ones of a file of unit tests. Every other test goes wherever there is room. Units of many tests
go first.

Marks (`xdist_group`) would say the same beside each test, but pytest 9.2 no longer takes the suffix by which
xdist 3.8 tells them apart, and shares out marked tests as any others (pytest-xdist#1386).
"""

from fnmatch import fnmatchcase
from typing import Final

from xdist.scheduler import LoadScopeScheduling

TOGETHER: Final = {
    "tests/deploy/test_chart*.py": "one copy of the chart, and nothing rendered twice",
    "tests/executors/test_azure*.py": "the SDK of Azure",
    "tests/executors/test_ecs*.py": "the SDK of AWS",
    "tests/executors/test_gcp*.py": "the SDK of Google",
    "tests/executors/test_k8s*.py": "the SDK of Kubernetes",
    "tests/executors/test_pyspark*.py": "the SDK of AWS, and what EMR adds to it",
    "tests/integration/test_bad_input.py": "one mesh",
    "tests/integration/test_command_blocks.py": "one mesh",
    "tests/integration/test_features.py": "one mesh, in which all pipelines run at once",
    "tests/integration/test_fuzz_requests.py": "one mesh",
    "tests/integration/test_remote_variables.py": "one S3",
    "tests/model/*": "several look at what one search has found",
}
"""What runs in one process, and what these tests have in common."""

SHORT: Final = ("tests/unit/", "tests/wire/", "tests/deploy/", "tests/emulators/", "tests/chaos/test_legal.py")


class Sharing(LoadScopeScheduling):  # type: ignore[misc] # xdist's has no types
    """Gives each process one unit of work after another."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of a test's unit."""
        path, _, _ = nodeid.partition("::")
        together = next((pattern for pattern in TOGETHER if fnmatchcase(path, pattern)), None)
        return together or (path if path.startswith(SHORT) else nodeid)

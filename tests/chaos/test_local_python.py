"""`local_python` in the crash matrix: its jobs die with their worker, and are run again."""

from typing import ClassVar

from tests.chaos.matrix import CrashMatrix


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = "local_python"

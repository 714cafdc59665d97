"""A platform whose jobs outlive their workers in the crash matrix: they are adopted, and started once."""

from typing import ClassVar

from tests.chaos.matrix import CrashMatrix
from tests.chaos.service import REMOTE


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = REMOTE

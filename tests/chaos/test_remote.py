"""A platform whose jobs outlive their workers in the crash matrix: they are adopted, and started once.

What dies here without RUNMESH_CHAOS=long is the worker: servers and resolvers know nothing of a platform.
"""

from collections.abc import Sequence
from typing import ClassVar

from tests.chaos.matrix import LONG, CrashMatrix
from tests.chaos.points import Act
from tests.chaos.service import REMOTE


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = REMOTE
    acts: ClassVar[Sequence[Act]] = CrashMatrix.acts if LONG else (Act.KILL_WORKER,)

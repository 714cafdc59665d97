"""Kubernetes in the crash matrix: the real executor, on an emulated cluster that outlives every worker."""

from typing import ClassVar

from tests.chaos.matrix import CrashMatrix
from tests.chaos.mesh import Cloud
from tests.chaos.service import REMOTE
from tests.emulators.running import running_cluster


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = REMOTE
    cloud: ClassVar[Cloud] = staticmethod(running_cluster)

"""Spark on EMR in the crash matrix: the real executor, on an emulated cloud that outlives every worker."""

from typing import ClassVar

from tests.chaos.matrix import CrashMatrix
from tests.chaos.mesh import Cloud
from tests.emulators.running import running_emr


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = "pyspark"
    cloud: ClassVar[Cloud] = staticmethod(running_emr)
    lonely: ClassVar[int] = 6
    lease: ClassVar[float] = 6.0

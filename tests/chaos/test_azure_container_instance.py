"""Azure Container Instances in the crash matrix: the real executor, on an emulated cloud that outlives every worker."""

from typing import ClassVar

from tests.chaos.matrix import CrashMatrix
from tests.chaos.mesh import Cloud
from tests.emulators.running import running_azure


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = "azure_container_instance"
    cloud: ClassVar[Cloud] = staticmethod(running_azure)
    drain_every: ClassVar[float] = 8.0
    lonely: ClassVar[int] = 9
    lease: ClassVar[float] = 5.0

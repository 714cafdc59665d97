"""ECS in the crash matrix: the real executor, on an emulated cloud that outlives every worker.

What dies here without RUNMESH_CHAOS=long is the worker: servers and resolvers know nothing of an executor's own.
"""

from pathlib import Path
from typing import ClassVar

import pytest

from tests.chaos.matrix import LONG, CrashMatrix
from tests.chaos.mesh import Cloud
from tests.chaos.points import Act
from tests.emulators.running import running_ecs


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = "ecs"
    cloud: ClassVar[Cloud] = staticmethod(running_ecs)
    drain_every: ClassVar[float] = 8.0

    @pytest.mark.parametrize("act", [Act.KILL_RESOLVER, Act.KILL_WORKER, Act.KILL_NATS] if LONG else [Act.KILL_WORKER])
    async def test_a_kill_at_any_point_loses_and_doubles_nothing(self, tmp_path: Path, act: Act) -> None:
        await super().test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path, act)

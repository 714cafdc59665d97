"""A platform whose jobs outlive their workers in the crash matrix: they are adopted, and started once.

What dies here without RUNMESH_CHAOS=long is the worker: servers and resolvers know nothing of a platform.
"""

from pathlib import Path
from typing import ClassVar

import pytest

from tests.chaos.matrix import LONG, CrashMatrix
from tests.chaos.points import Act
from tests.chaos.service import REMOTE


class TestCrashes(CrashMatrix):
    executor_type: ClassVar[str] = REMOTE

    @pytest.mark.parametrize("act", [Act.KILL_RESOLVER, Act.KILL_WORKER, Act.KILL_NATS] if LONG else [Act.KILL_WORKER])
    async def test_a_kill_at_any_point_loses_and_doubles_nothing(self, tmp_path: Path, act: Act) -> None:
        await super().test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path, act)

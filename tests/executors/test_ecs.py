"""`ecs` against the emulator of AWS: the conformance cases."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.executor import Handle, StreamsLogs, load
from runmesh.executors.ecs import Config, Executor
from tests.emulators.ecs import CONFIG, Aws, aws
from tests.executors.conformance import ExecutorConformance
from tests.executors.emulated import Emulated


class Ecs(Emulated):
    """How the tests reach the tasks of an account."""

    separates_streams: ClassVar[bool] = False
    type: ClassVar[str] = "ecs"
    usual: ClassVar[Mapping[str, Any]] = CONFIG
    refuses_missing_command: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    async def _aws(self, tmp_path: Path) -> AsyncIterator[None]:
        self.directory = tmp_path
        async with aws() as self.aws:
            yield

    aws: Aws

    @property
    def emulator(self) -> Aws:
        return self.aws

    async def remove(self, executor: Executor, handle: Handle) -> None:
        """Remove a task: ECS forgets it after an hour."""
        await executor.remove(handle)
        self.aws.forget(handle)


class TestConformance(Ecs, ExecutorConformance):
    async def is_alive(self, handle: Handle) -> bool:
        container = self.aws.task(handle).container
        return container is not None and container.running

    async def leftovers(self) -> list[str]:
        return list(self.aws.ecs.tasks)

    def test_it_has_its_powers(self) -> None:
        assert isinstance(self.connect(), StreamsLogs)
        assert load("ecs") == (Executor, Config)


class TestIdentity(Ecs):
    """One token, one task: whoever asks, and however."""

    async def test_a_second_submission_of_another_worker_starts_nothing(self, executor: Executor) -> None:
        task = self.sleeping("shared")
        async with self.connect("worker-2") as other:
            handles = await asyncio.gather(executor.submit(task), other.submit(task))
        assert handles[0] == handles[1]
        assert len(self.aws.ecs.history) == 1

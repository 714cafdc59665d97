"""`gcp_cloud_run` against the emulator of Google Cloud: the conformance cases."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.errors import Rejected
from runmesh.executor import Handle, StreamsLogs, load
from runmesh.executors.gcp_cloud_run import Config, Executor
from tests.emulators.cloud_run import CONFIG, Cloud, cloud_run
from tests.executors.conformance import ExecutorConformance
from tests.executors.emulated import Emulated


class CloudRun(Emulated):
    """How the tests reach the jobs of a project."""

    type: ClassVar[str] = "gcp_cloud_run"
    usual: ClassVar[Mapping[str, Any]] = CONFIG
    refuses_missing_command: ClassVar[bool] = False
    burst: ClassVar[int] = 25

    @pytest.fixture(autouse=True)
    async def _cloud(self, tmp_path: Path) -> AsyncIterator[None]:
        self.directory = tmp_path
        async with cloud_run() as self.cloud:
            yield

    cloud: Cloud

    @property
    def emulator(self) -> Cloud:
        return self.cloud


class TestConformance(CloudRun, ExecutorConformance):
    async def is_alive(self, handle: Handle) -> bool:
        container = self.cloud.run(handle).container
        return container is not None and container.running

    async def leftovers(self) -> list[str]:
        return list(self.cloud.api.runs)

    def test_it_has_its_powers(self) -> None:
        assert isinstance(self.connect(), StreamsLogs)
        assert load("gcp_cloud_run") == (Executor, Config)


class TestIdentity(CloudRun):
    """One name, one job: whoever asks, and however."""

    async def test_a_second_submission_of_another_worker_starts_nothing(self, executor: Executor) -> None:
        task = self.sleeping("shared")
        async with self.connect("worker-2") as other:
            handles = await asyncio.gather(executor.submit(task), other.submit(task))
        assert handles[0] == handles[1]
        assert len(self.cloud.api.history) == 1

    async def test_a_job_of_this_name_that_is_not_ours_is_left_alone(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("theirs"))
        self.cloud.run(handle).job.labels["runmesh-key"] = "another"
        with pytest.raises(Rejected, match="not of this task"):
            await executor.submit(self.sleeping("theirs"))
        assert await executor.find(self.sleeping("theirs")) is None

"""`pyspark` against EMR, EMR Serverless and S3 as the emulator plays them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.executor import Handle, Site, StreamsLogs, Task, load
from runmesh.executors.amazon.emr.handle import Address
from runmesh.executors.pyspark import Config, Executor
from tests.emulators.emr import BUCKET, Cloud, cloud
from tests.executors.conformance import ExecutorConformance, Platform
from tests.executors.tasks import task_of


class Quick(Executor):
    """The real one, which looks again sooner."""

    poll_interval = 0.1
    output_every = 0.05


class Emr(Platform):
    """How the tests reach the steps of a cluster."""

    burst: ClassVar[int] = 6
    separates_streams: ClassVar[bool] = False
    refuses_missing_command: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    async def _cloud(self, tmp_path: Path) -> AsyncIterator[None]:
        async with cloud() as self.cloud:
            keeps = {"Name": "mine", "Instances": {"KeepJobFlowAliveWhenNoSteps": True}}
            self.cluster = self.cloud.clusters.create(keeps, ready=True)
            self.directory = tmp_path
            yield

    cloud: Cloud

    def connect(self, **environment: str) -> Executor:
        there = {**self.cloud.environment, **environment}
        return Quick(Site("mesh", "default", "worker-1", there, self.directory))

    def task(self, key: str, *command: str, **environment: str) -> Task[Config]:
        return task_of(self.config(), *command, key=key, environment=environment)

    def config(self, **more: Any) -> Config:
        return Config(cluster_id=self.cluster.id, **more)

    async def is_alive(self, handle: Handle) -> bool:
        identity = Address.of(handle).job
        [step] = [step for step in self.cloud.steps() if step.id == identity]
        return step.driver is not None and step.driver.alive

    async def leftovers(self) -> list[str]:
        return [*self.cloud.buckets.objects[BUCKET]]


class TestConformance(Emr, ExecutorConformance):
    """On a cluster that is named."""


def test_it_has_its_powers() -> None:
    assert issubclass(Executor, StreamsLogs)
    assert load("pyspark") == (Executor, Config)

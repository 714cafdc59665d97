"""`azure_container_instance` against the emulator of Azure: the conformance cases."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.executor import Handle, StreamsLogs, load
from runmesh.executors.azure_container_instance import Config, Executor
from tests.emulators.azure import CONFIG, Azure, azure
from tests.eventually import eventually
from tests.executors.conformance import ExecutorConformance
from tests.executors.emulated import Emulated


class Aci(Emulated):
    """How the tests reach the container groups of a subscription."""

    separates_streams: ClassVar[bool] = False
    type: ClassVar[str] = "azure_container_instance"
    usual: ClassVar[Mapping[str, Any]] = CONFIG
    refuses_missing_command: ClassVar[bool] = False
    keeps_stopped: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    async def _azure(self, tmp_path: Path) -> AsyncIterator[None]:
        self.directory = tmp_path
        async with azure() as self.azure:
            yield

    azure: Azure

    @property
    def emulator(self) -> Azure:
        return self.azure

    async def remove(self, executor: Executor, handle: Handle) -> None:
        """Remove a group, which takes Azure a moment."""
        await executor.remove(handle)
        await eventually(lambda: handle not in self.azure.api.groups)


class TestConformance(Aci, ExecutorConformance):
    async def is_alive(self, handle: Handle) -> bool:
        group = self.azure.api.groups.get(handle)
        return group is not None and group.container is not None and group.container.running

    async def leftovers(self) -> list[str]:
        return list(self.azure.api.groups)

    def test_it_has_its_powers(self) -> None:
        assert isinstance(self.connect(), StreamsLogs)
        assert load("azure_container_instance") == (Executor, Config)


class TestIdentity(Aci):
    """One name, one group: whoever asks, and however."""

    async def test_a_second_worker_adopts_what_is_there_and_starts_nothing_again(self, executor: Executor) -> None:
        task = self.sleeping("shared")
        first = await executor.submit(task)
        async with self.connect("worker-2") as other:
            assert await other.submit(task) == first
        assert len(self.azure.group(first).history) == 1

    async def test_a_worker_that_created_a_group_believes_that_it_is_there(self, executor: Executor) -> None:
        handle = await executor.submit(self.sleeping("kept"))
        group = self.azure.api.groups.pop(handle)  # Azure does not show it for a moment
        await asyncio.gather(*(executor.submit(self.sleeping("kept")) for _ in range(3)))
        self.azure.api.groups[handle] = group
        assert len(group.history) == 1

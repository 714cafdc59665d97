"""The platform of the crash tests is one as any other, and misbehaves as it is told."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh.errors import Unavailable
from runmesh.executor import Handle, LogLine, Position, Site, Task
from tests.emulators.platform import SOCKET, Faults, misbehave, platform
from tests.emulators.remote import Config, Executor
from tests.emulators.serving import answering, call
from tests.executors.conformance import ExecutorConformance
from tests.executors.tasks import task_of


class TestConformance(ExecutorConformance):
    streams_logs: ClassVar[bool] = False
    burst: ClassVar[int] = 10
    """It starts one process after another, all within its executor's `find_window`."""

    @pytest.fixture(autouse=True)
    async def _platform(self, tmp_path: Path) -> AsyncIterator[None]:
        self.socket = tmp_path / "platform"
        async with platform() as found, answering(self.socket, found.answer):
            yield

    def connect(self) -> Executor:
        return Executor(Site("mesh", "default", "worker-1", {SOCKET: str(self.socket)}, self.socket.parent))

    def task(self, key: str, *command: str, **environment: str) -> Task[Config]:
        return task_of(Config(), *command, key=key, environment={"PATH": os.environ["PATH"], **environment})

    async def is_alive(self, handle: Handle) -> bool:
        seen = (await call(self.socket, do="observe", handles=[handle]))["seen"]
        return bool(seen[handle]["phase"] == "running")

    async def leftovers(self) -> list[str]:
        return [name for name, _ in (await call(self.socket, do="jobs", pool=None))["jobs"]]

    async def output(self, executor: Any, handle: Handle, since: Position | None = None) -> list[LogLine]:
        assert since is None
        await self.ended(executor, handle)
        tail = (await call(self.socket, do="observe", handles=[handle]))["seen"][handle]["tail"]
        return [LogLine("stdout", number, text, Position()) for number, text in enumerate(tail, 1)]

    async def history(self) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = (await call(self.socket, do="history"))["history"]
        return history

    # --- faults -------------------------------------------------------------------------------------

    async def test_a_throttled_call_did_nothing(self, executor: Executor) -> None:
        await misbehave(self.socket, Faults(throttle=1.0))
        with pytest.raises(Unavailable):
            await executor.submit(self.task("throttled", "true"))
        assert await self.history() == []

    async def test_a_failed_call_did_nothing(self, executor: Executor) -> None:
        await misbehave(self.socket, Faults(internal=1.0))
        with pytest.raises(ConnectionError):
            await executor.submit(self.task("failed", "true"))
        assert await self.history() == []

    async def test_where_the_answer_is_lost_it_was_done(self, executor: Executor) -> None:
        await misbehave(self.socket, Faults(lost=1.0, only=("submit",), first=1))
        task = self.task("lost", "true")
        with pytest.raises(ConnectionError):
            await executor.submit(task)
        assert await executor.submit(task) == await executor.find(task)
        assert [job["name"] for job in await self.history()] == ["lost"]

    async def test_a_submit_that_comes_too_late_starts_nothing(self) -> None:
        answer = await call(self.socket, do="submit", name="late", until=0.0)
        assert answer == {"error": "too late"}
        assert await self.history() == []

    async def test_the_history_forgets_nothing(self, executor: Executor) -> None:
        for _ in range(2):
            handle = await executor.submit(self.task("twice", "true"))
            await self.ended(executor, handle)
            await executor.remove(handle)
        assert [(job["name"], job["block"], job["attempt"]) for job in await self.history()] == [
            ("twice", "load", 1),
            ("twice", "load", 1),
        ]

    async def test_a_slow_stop_takes_its_time(self, executor: Executor) -> None:
        await misbehave(self.socket, Faults(slow_delete=0.5))
        handle = await executor.submit(self.sleeping("slow"))
        await executor.cancel(handle)
        assert await self.is_alive(handle)
        await self.ended(executor, handle)

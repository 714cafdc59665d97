"""Only so many logs are followed at once, and nobody takes the room for one along when told to go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runmesh.executor import Handle, Position
from runmesh.executors.kubernetes.known import JOBS, PODS, Known
from runmesh.executors.kubernetes.logs import Logs

HANDLE = Handle("default/one/u1")
JOB: dict[str, Any] = {"metadata": {"name": "one", "namespace": "default", "uid": "u1"}, "spec": {}, "status": {}}
RUNNING = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}
POD: dict[str, Any] = {
    "metadata": {
        "name": "one-x",
        "namespace": "default",
        "uid": "p1",
        "ownerReferences": [{"kind": "Job", "name": "one", "uid": "u1", "controller": True}],
    },
    "spec": {"containers": [{"name": "main"}]},
    "status": RUNNING,
}


class Silent:
    """An API server whose logs never say anything."""

    def __init__(self) -> None:
        self.open = 0
        self.content = self

    @asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator["Silent"]:
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def iter_any(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(8))
async def test_who_is_told_to_go_just_when_there_is_room_leaves_it_to_the_next(turns: int) -> None:
    known, server = Known(lambda _: None), Silent()
    known.tell(JOBS, JOB)
    known.tell(PODS, POD)
    logs = Logs(server, known, 1)  # type: ignore[arg-type]

    async def follow() -> None:
        async for _ in logs.follow(HANDLE, Position()):
            pass

    first, second = asyncio.create_task(follow()), asyncio.create_task(follow())
    await settled()
    first.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    second.cancel()
    await settled()
    assert server.open == 0
    third = asyncio.create_task(follow())
    await settled()
    assert server.open == 1
    third.cancel()
    await asyncio.wait([first, second, third])

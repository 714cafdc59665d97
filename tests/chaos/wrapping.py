"""The bus and the executor that pass by the named points; what they do is what the real ones do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from secrets import token_hex
from typing import Any, ClassVar, Final, Self, TypeVar, cast

from pydantic import model_validator

from runmesh.bus import Bucket, Bus, Message, Pump, Stored
from runmesh.executor import Backend, ExecutorConfig, Handle, Task
from tests.chaos.points import Points, Step

T = TypeVar("T")

FRAGILE: Final = "CHAOS_FRAGILE"
"""A variable of a job's whose configuration breaks whoever reads it."""


def wrapped(bus: Bus, points: Points) -> Bus:
    """Return a bus that passes by the points."""
    return cast("Bus", PointedBus(bus, points))


def around(points: Points, step: Step, send: Callable[[], "asyncio.Future[T]"]) -> "asyncio.Future[T]":
    """Pass by before something is sent, and after its answer, before anybody else knows of that."""
    points.reach(step, before=True)

    def answered(done: "asyncio.Future[T]") -> None:
        if not done.cancelled() and done.exception() is None:
            points.reach(step, before=False)

    future = send()
    future.add_done_callback(answered)
    return future


class PointedBus:
    """Publishes and takes past the points; everything else is the bus's own."""

    def __init__(self, bus: Bus, points: Points) -> None:
        self._bus, self._points = bus, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def post(self, subject: str, data: bytes, **options: Any) -> "asyncio.Future[Stored]":
        return around(self._points, Step("publish", subject, data), lambda: self._bus.post(subject, data, **options))

    async def publish(self, subject: str, data: bytes, **options: Any) -> Stored:
        return await self.post(subject, data, **options)

    def bucket(self, name: str) -> Bucket:
        return cast("Bucket", PointedBucket(self._bus.bucket(name), name, self._points))

    @asynccontextmanager
    async def consume(self, stream: str, durable: str, *, slots: int) -> AsyncIterator["PointedPump"]:
        async with self._bus.consume(stream, durable, slots=slots) as pump:
            yield PointedPump(pump, self._points)


class PointedBucket:
    """Writes past the points."""

    def __init__(self, bucket: Bucket, name: str, points: Points) -> None:
        self._bucket, self._call, self._points = bucket, f"write {name}", points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def post(self, key: str, value: bytes, *, revision: int | None = None) -> "asyncio.Future[int]":
        step = Step(self._call, key, value)
        return around(self._points, step, lambda: self._bucket.post(key, value, revision=revision))

    async def put(self, key: str, value: bytes) -> int:
        return await self._around(key, value, lambda: self._bucket.put(key, value))

    async def create(self, key: str, value: bytes) -> int:
        return await self._around(key, value, lambda: self._bucket.create(key, value))

    async def update(self, key: str, value: bytes, revision: int) -> int:
        return await self._around(key, value, lambda: self._bucket.update(key, value, revision))

    async def _around(self, key: str, value: bytes, write: Callable[[], Awaitable[int]]) -> int:
        step = Step(self._call, key, value)
        self._points.reach(step, before=True)
        revision = await write()
        self._points.reach(step, before=False)
        return revision


class PointedPump:
    """Takes past the points."""

    def __init__(self, pump: Pump, points: Points) -> None:
        self._pump, self._points = pump, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pump, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await anext(self._pump)
        self._points.reach(Step("take", message.subject, message.data), before=False)
        return message


def pointed(backend: Backend, points: Points, *, random_keys: bool = False) -> Backend:
    """Return a backend that passes by the points; with `random_keys`, one that has no identity to rely on."""
    real: Any = backend.Executor

    class Pointed(real):  # type: ignore[misc]  # whichever executor it is
        keys: ClassVar[dict[Handle, str]] = {}
        """Of what this worker has submitted: not every platform's handles hold them."""

        async def submit(self, task: Task[Any]) -> Handle:
            step = Step("submit", f"{task.run} {task.key}")
            points.reach(step, before=True)
            handle: Handle = await super().submit(self._named(task))
            self.keys[handle] = task.key
            points.reach(step, before=False)
            return handle

        async def find(self, task: Task[Any]) -> Handle | None:
            found: Handle | None = await super().find(self._named(task))
            return found

        async def cancel(self, handle: Handle) -> None:
            step = Step("cancel", f"{handle} {self.keys.get(handle, '')}")
            points.reach(step, before=True)
            await super().cancel(handle)
            points.reach(step, before=False)

        async def remove(self, handle: Handle) -> None:
            self.keys.pop(handle, None)
            await super().remove(handle)

        def _named(self, task: Task[Any]) -> Task[Any]:
            return replace(task, key=token_hex(10)) if random_keys else task

    return Backend(Pointed, fragile(backend.Config))


def fragile(config: type[ExecutorConfig]) -> type[ExecutorConfig]:
    """Return a model of an executor's configuration that has a fault."""

    class Fragile(config):  # type: ignore[valid-type,misc]  # whichever it is
        @model_validator(mode="after")
        def _break(self) -> Self:
            if FRAGILE in getattr(self, "environment", ()):
                raise ZeroDivisionError
            return self

    return Fragile

"""An executor service: one worker after another, each under a fresh id.

A worker that lost its lease has dropped all it held, and others may own it by now. What it knew is worth
nothing any more, so the process goes on with a new worker that knows nothing.
"""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Final

import structlog

from runmesh import metrics
from runmesh.bus import Bus
from runmesh.clock import clock, longer
from runmesh.errors import Invalid, Problem
from runmesh.executor import Backend, Site
from runmesh.platforms.reach import out_of_reach
from runmesh.settings import Settings, environment
from runmesh.worker import LeaseLost, Worker

_FIRST_PAUSE: Final = 0.5


class Working:
    """The service: `run` returns after `drain`, whatever happened to workers in between."""

    def __init__(self, bus: Bus, settings: Settings, executor_type: str, backend: Backend) -> None:
        self._bus, self._settings = bus, settings
        self._type, self._backend = executor_type, backend
        self._worker: Worker | None = None
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Work, under a new id whenever the lease is lost, until drained."""
        pause = _FIRST_PAUSE / 2
        while not self._draining.is_set():
            began = clock()
            try:
                await self._work()
            except LeaseLost as lost:
                self._worker = None
                pause = longer(pause, lived=clock() - began, first=_FIRST_PAUSE)
                metrics.LEASES.labels(self._type, self._settings.pool).inc()
                structlog.get_logger().warning("lease lost", action="renew", reason=str(lost), pause=pause)
            else:
                return
            await self._rest(pause)

    def drain(self) -> None:
        """Let the present worker drain, and make no other."""
        self._draining.set()
        if self._worker:
            self._worker.drain()

    def troubles(self) -> list[str]:
        """Say what keeps it from work beside NATS: a lease that is lost, a platform that is out of reach."""
        working = self._worker is not None and self._worker.pulls
        return [*([] if working else ["there is no worker with a lease"]), *out_of_reach()]

    async def _work(self) -> None:
        worker_id = _fresh_id()
        async with _site(self._settings, worker_id) as site:
            self._worker = Worker(
                self._bus,
                self._backend.Executor(site),
                executor_type=self._type,
                config_model=self._backend.Config,
                settings=self._settings,
                worker_id=worker_id,
            )
            if self._draining.is_set():
                self._worker.drain()  # it was asked for before there was this worker
            await self._worker.run()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            pass


@asynccontextmanager
async def _site(settings: Settings, worker_id: str) -> AsyncIterator[Site]:
    directory = settings.state_dir.resolve() / "workers" / worker_id
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True)
    except OSError as error:
        where = f"should be a folder to write to, not {str(settings.state_dir)!r}: {error.strerror}"
        raise Invalid(Problem("RUNMESH_STATE_DIR", where)) from error
    try:
        yield Site(settings.mesh, settings.pool, worker_id, environment(), directory)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def _fresh_id() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{token_hex(4)}"

"""What is seen of a job and what is asked of it may come at the same moment: none of it is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from runmesh.bus import Bus, Message
from runmesh.claims import Claim, Stopping
from runmesh.events import Cause, TaskState
from runmesh.executor import GONE, Observation, Phase
from runmesh.settings import Settings
from runmesh.worker.claims import Claims
from runmesh.worker.intake import _task
from runmesh.worker.jobs import Job
from runmesh.worker.lease import Lease
from runmesh.worker.logs import Logs
from runmesh.worker.observer import Observer
from runmesh.worker.platform import Platform
from runmesh.worker.report import Reporter
from runmesh.worker.station import Station
from runmesh.worker.verdict import Verdict
from runmesh.worker.watching import Watcher
from tests.conftest import Address
from tests.executors.scripted import Config, Script, ScriptedExecutor
from tests.executors.scripted import Platform as Cloud
from tests.integration.worker_mesh import POOL, TYPE, Mesh

SUBJECT = "mesh.execute.k8s.default.shop.run-1.load"


@asynccontextmanager
async def watched(bus: Bus, mesh: Mesh, cloud: Cloud) -> AsyncIterator[tuple[Job, asyncio.Task[Verdict]]]:
    """A job that runs until it is stopped, and its watcher, which waits for news of it."""
    lease, event = Lease(60.0), mesh.command("load")
    platform = Platform(ScriptedExecutor(cloud), lease)
    claims = Claims(bus, lease, TYPE, POOL)
    station = Station(bus, Settings(), TYPE, POOL, "worker-0", Config, platform, lease, claims)
    observer = Observer(platform)
    handle, now = cloud.start(event, Script(runs=None)), datetime.now(UTC)
    job = Job(Message(SUBJECT, event.to_json(), {}), event, _task(event, Config, {}))
    claim = Claim(owner="worker-0", claimed_at=now).submitting(now).submitted(handle, now)
    job.hold, _ = await claims.create(event.key, claim)
    watcher = Watcher(station, Reporter(station, Logs(station, asyncio.create_task)), observer)
    watching = asyncio.create_task(watcher.end_of(job))
    await asyncio.sleep(0)  # it waits now, for as long as nothing is told
    observing = asyncio.create_task(observer.poll())
    try:
        yield job, watching
    finally:
        observing.cancel()
        watching.cancel()
        await asyncio.wait([observing, watching])
        await cloud.close()


@pytest.mark.parametrize("seen", [Observation(Phase.RUNNING), GONE], ids=["runs", "is gone, says one of two answers"])
async def test_a_stop_is_heeded_that_comes_together_with_other_news(
    bus: Bus, nats_address: Address, seen: Observation
) -> None:
    cloud = Cloud()
    async with watched(bus, Mesh(bus, nats_address), cloud) as (job, watching):
        job.see(seen, gone_window=0.0)
        job.ask_stop(Stopping(cause=Cause.CANCELLED, reason="asked", at=datetime.now(UTC)))
        async with asyncio.timeout(60):
            verdict = await watching
    assert (verdict.state, verdict.reason, verdict.unconfirmed) == (TaskState.CANCELLED, "asked", False)
    assert not cloud.alive

"""The records by which workers know of each other: one that is missing tells of a death, all of them of nothing."""

from collections.abc import AsyncIterator
from functools import partial

import pytest_asyncio

from runmesh import subjects
from runmesh.bus import Bus
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script
from tests.integration.worker_mesh import POOL, TYPE, Mesh, mesh_on

COPIES = 12


@pytest_asyncio.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    """A mesh without workers."""
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_nothing_is_taken_over_where_the_records_of_all_are_lost(mesh: Mesh) -> None:
    """As when the clock of the server is set forward, or somebody makes the bucket anew."""
    platform = Platform(load=Script(runs=None))
    for _ in range(2):
        await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.bus.api(f"STREAM.PURGE.KV_{subjects.WORKERS}")
    for _ in range(COPIES):
        await mesh.publish(event)

    async def all_taken() -> bool:
        info = await mesh.bus.consumer_info(subjects.execute_stream(TYPE), subjects.execute_consumer(POOL))
        return (info.pending, info.ack_pending) == (0, 1 + COPIES)

    await eventually(all_taken)
    for process in mesh.processes:
        await eventually(partial(mesh.record, process.worker_id))
    await mesh.cancel()
    assert (await mesh.ended(event)).epoch == 0
    await mesh.settled()

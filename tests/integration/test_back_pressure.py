"""A full queue: whoever asks hears it, nobody else is disturbed, and afterwards everything goes on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from ulid import ULID

from runmesh import subjects
from runmesh.bus import Bus, provision
from runmesh.client import Mesh
from runmesh.errors import Invalid, StreamFull
from runmesh.service import Answers
from runmesh.worker.jobs import Job, Jobs
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.integration.test_cli_runs import Command, runmesh
from tests.integration.worker_mesh import mesh_on
from tests.shop import answering, ask, resolving, settings_for, states, write_pipeline, write_project

__all__ = ["runmesh"]

MOST = 3


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    for name in ("shop", "quiet"):
        write_pipeline(write_project(tmp_path / name), "one", {"only": []})
    write_pipeline(tmp_path / "shop", "limited", {"only": []}, concurrency_config={"pipeline_run_limit": 1})
    return tmp_path


async def change(bus: Bus, stream: str, **settings: Any) -> None:
    """Change a stream as an operator would."""
    config = (await bus.api(f"STREAM.INFO.{stream}"))["config"]
    await bus.api(f"STREAM.UPDATE.{stream}", {**config, **settings})


@asynccontextmanager
async def full(bus: Bus) -> AsyncIterator[Mesh]:
    """Fill the queue of requests, which takes few here, while no resolver is there."""
    await change(bus, subjects.REQUESTS, max_msgs=MOST)
    client = Mesh(bus)
    for number in range(MOST):
        await client.submit("one", project="shop", id=f"r{number}")
    yield client


async def all_end(bus: Bus, *runs: str) -> None:
    async def ended() -> bool:
        return all(["completed" in await states(bus, run) for run in runs])

    await eventually(ended)


async def test_a_submitter_hears_that_the_queue_is_full_and_all_that_was_taken_runs(bus: Bus, projects: Path) -> None:
    async with full(bus) as client:
        with pytest.raises(StreamFull, match=r"mesh\.request\.run\.shop: maximum messages exceeded"):
            await client.submit("one", project="shop", id="late")
        async with resolving(bus, settings_for(projects)), answering(bus):
            await all_end(bus, *(f"r{number}" for number in range(MOST)))
            assert await states(bus, "late") == []
            await client.submit("one", project="shop", id="late")
            await all_end(bus, "late")


async def test_the_command_line_says_so_and_what_to_do(bus: Bus, runmesh: Command) -> None:
    async with full(bus):
        done = await runmesh("submit", "one")
    assert done.code == 1
    assert done.out == ""
    assert "maximum messages exceeded" in done.err
    assert "the mesh takes no more for now: try again later" in done.err


async def test_any_other_client_is_told_in_the_answer(bus: Bus, nats_address: Address) -> None:
    async with full(bus):
        other = await nats.connect(nats_address.url, token=nats_address.token)
        answer = await other.request("mesh.request.run.shop", b'{"pipeline":"one"}', timeout=60)
        await other.close()
    assert json.loads(answer.data)["error"]["description"] == "maximum messages exceeded"


async def test_the_api_answers_with_an_error(bus: Bus, projects: Path) -> None:
    async with resolving(bus, settings_for(projects)) as resolver:
        assert isinstance(resolver, Answers)
        await change(bus, subjects.REQUESTS, max_bytes=1)
        async with bus.serve("runmesh-resolver", "1.0.0", "test", resolver.endpoints()):
            answer = await bus.request("mesh.api.submit.shop", b'{"pipeline":"one"}')
    assert "maximum bytes exceeded" in answer.headers["Nats-Service-Error"]


async def test_a_project_that_floods_the_queue_shuts_out_nobody_else(bus: Bus, projects: Path) -> None:
    await change(bus, subjects.REQUESTS, max_msgs_per_subject=MOST)
    client = Mesh(bus)
    for _ in range(MOST):
        await client.submit("one", project="shop")
    with pytest.raises(StreamFull, match="per subject"):
        await client.submit("one", project="shop")
    run = await client.submit("one", project="quiet")
    async with resolving(bus, settings_for(projects)), answering(bus):
        await all_end(bus, run)
        await client.submit("one", project="shop")


async def test_how_much_a_project_may_queue_is_the_operators_to_change(bus: Bus) -> None:
    config = (await bus.api(f"STREAM.INFO.{subjects.REQUESTS}"))["config"]
    assert (config["max_msgs_per_subject"], config["discard_new_per_subject"]) == (100_000, True)
    await change(bus, subjects.REQUESTS, max_msgs_per_subject=7)
    assert await provision(bus, ack_wait=ACK_WAIT) == []
    await change(bus, subjects.REQUESTS, max_msgs_per_subject=-1, discard_new_per_subject=False)
    (changed,) = await provision(bus, ack_wait=ACK_WAIT)
    assert changed == "changed stream REQUESTS: max_msgs_per_subject, discard_new_per_subject"


async def test_what_the_workers_queue_refuses_is_owed_and_others_go_on(bus: Bus, projects: Path) -> None:
    write_pipeline(projects / "shop", "far", {"remote": []}, executor_type="k8s")
    stream = subjects.execute_stream("k8s")
    await change(bus, stream, max_msgs=1)
    async with resolving(bus, settings_for(projects)), answering(bus):
        for number in range(3):
            await ask(bus, "run", {"pipeline": "far", "id": f"far{number}"})
        await ask(bus, "run", {"pipeline": "one", "id": "near"})
        await all_end(bus, "near")
        async with answering(bus, "k8s"):
            await all_end(bus, *(f"far{number}" for number in range(3)))


async def test_a_flood_of_a_limited_pipeline_is_no_queue_for_others(bus: Bus, projects: Path) -> None:
    """Its runs wait at the gate, not in the workers' queue: nobody answers commands here but the quiet one's."""
    async with resolving(bus, settings_for(projects)):
        flood = [str(ULID()) for _ in range(50)]
        for run in flood:
            await ask(bus, "run", {"pipeline": "limited", "id": run})
        await ask(bus, "run", {"pipeline": "one", "id": "quiet"}, project="quiet")

        async def dispatched() -> bool:
            told = [await states(bus, run) for run in (*flood, "quiet")]
            return all(told) and "running" in told[-1] and sum("running" in each for each in told) == 2

        await eventually(dispatched)
        assert (await bus.stream_info(subjects.execute_stream("local_python"))).messages == 2


async def test_a_worker_counts_the_bytes_that_it_holds(bus: Bus, nats_address: Address) -> None:
    jobs = Jobs()
    async with bus.consume(subjects.execute_stream("k8s"), subjects.execute_consumer("default"), slots=2) as pump:
        async with mesh_on(bus, nats_address) as workers:
            events = [await workers.order(block, config={"image": "x" * 1000}) for block in ("load", "report")]
        held = [Job(await anext(pump), event, Invalid()) for event in events]
        for job in held:
            jobs.add(job)
        assert jobs.bytes == sum(len(event.to_json()) for event in events)
        for job in (*held, *held):
            jobs.drop(job)
        assert jobs.bytes == 0

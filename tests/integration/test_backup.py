"""Two ways to back up a mesh, tried: what was half done when the copy was made is finished on it."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
from nats.aio.client import Client

from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server, embedded
from runmesh.executor import Observation, Phase
from runmesh.executors.k8s import Config
from runmesh.subjects import FACTS
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script
from tests.integration.worker_mesh import mesh_on
from tests.shop import ask, killable, settings_for, states, task_facts, write_pipeline, write_project


class Snapshot(NamedTuple):
    """A stream with its consumers, as the server packs them."""

    about: dict[str, Any]
    chunks: list[bytes]


async def snapshots(client: Client) -> list[Snapshot]:
    """Do as `nats account backup` does."""
    streams = (await _api(client, "STREAM.NAMES", {}))["streams"]
    return [await _snapshot(client, stream) for stream in streams]


async def _snapshot(client: Client, stream: str) -> Snapshot:
    inbox, chunks = client.new_inbox(), list[bytes]()
    packed = await client.subscribe(inbox)
    about = await _api(client, f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "chunk_size": 100_000})
    while (message := await packed.next_msg(timeout=10)).data:
        chunks.append(message.data)
        if message.reply:  # the server waits before it sends more
            await message.respond(b"")
    await packed.unsubscribe()
    return Snapshot({"config": about["config"], "state": about["state"]}, chunks)


async def restore(client: Client, snapshot: Snapshot) -> None:
    """Do as `nats account restore` does."""
    name = snapshot.about["config"]["name"]
    subject = (await _api(client, f"STREAM.RESTORE.{name}", snapshot.about))["deliver_subject"]
    for chunk in (*snapshot.chunks, b""):
        await client.publish(subject, chunk, reply=client.new_inbox())  # the server wants one
    await eventually(partial(_is_there, client, name))


async def _is_there(client: Client, stream: str) -> bool:
    return "state" in json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}")).data)


async def _api(client: Client, name: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{name}", json.dumps(body).encode())).data)
    assert "error" not in answer, answer
    return answer


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, token=server.token)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def services(server: Server, projects: Path, platform: Platform) -> AsyncIterator[Bus]:
    """Run a resolver and a worker; they end without a word."""
    async with connect(server.url, name="test", token=server.token) as bus:
        await provision(bus, ack_wait=ACK_WAIT)
        async with mesh_on(bus, Address(server.url, server.token)) as workers, killable(bus, settings_for(projects)):
            await workers.start(platform, config_model=Config)
            yield bus


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    project = write_project(tmp_path / "projects" / "shop", executor_type="k8s")
    write_pipeline(project, "daily", {"load": [], "tell": ["load"]}, block={"type": "command", "command": ["true"]})
    return project.parent


async def test_a_mesh_goes_on_with_a_cold_copy_of_its_store(projects: Path, tmp_path: Path) -> None:
    platform = Platform(load=Script(runs=None))
    async with embedded(tmp_path / "store") as server:
        await begin(server, projects, platform)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    shutil.rmtree(tmp_path / "store")
    async with embedded(tmp_path / "copy") as server:
        await finish(server, projects, platform)


async def test_a_mesh_goes_on_with_snapshots_of_its_streams(projects: Path, tmp_path: Path) -> None:
    platform = Platform(load=Script(runs=None))
    async with embedded(tmp_path / "store") as server:
        await begin(server, projects, platform)
        async with client_of(server) as client:
            packed = await snapshots(client)
    async with embedded(tmp_path / "other") as server:
        async with client_of(server) as client:
            for snapshot in packed:
                await restore(client, snapshot)
        await finish(server, projects, platform)


async def begin(server: Server, projects: Path, platform: Platform) -> None:
    """Let a run have its first job, and lose all services."""
    async with services(server, projects, platform) as bus:
        await ask(bus, "run", {"id": "half", "pipeline": "daily"})
        await eventually(partial(bus.last, FACTS, "mesh.task.running.*.*.*.half.load"))


async def finish(server: Server, projects: Path, platform: Platform) -> None:
    """Let the job end while nobody looks, and the run go on."""
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))
    async with services(server, projects, platform) as bus:
        await eventually(partial(bus.last, FACTS, "mesh.run.completed.*.*.half"))
        assert await states(bus, "half") == ["accepted", "running", "completed"]
        assert [fact.block for fact in await task_facts(bus, "half") if fact.state == "completed"] == ["load", "tell"]
    assert sorted(platform.started.values()) == [1, 1], "the job of the first block was adopted"

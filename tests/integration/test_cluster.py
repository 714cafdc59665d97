"""A mesh on three nats-servers: one of them may die at any moment."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.errors import Unreachable
from runmesh.executors.k8s import Config
from runmesh.subjects import CLAIMS, FACTS, REQUESTS, RUNS
from tests.chaos.cluster import cluster, leader_of
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script
from tests.integration.worker_mesh import mesh_on
from tests.shop import ask, resolving, settings_for, states, write_pipeline, write_project

LEASE = 10.0
"""Longer than a stream may be without a leader."""


async def test_runs_go_on_when_the_leader_of_their_facts_dies(tmp_path: Path) -> None:
    project = write_project(tmp_path / "projects" / "shop", executor_type="k8s")
    write_pipeline(project, "daily", {"load": [], "tell": ["load"]}, block={"type": "command", "command": ["true"]})
    platform = Platform(load=Script(runs=0.5))
    async with (
        cluster(tmp_path) as nodes,
        connect([node.url for node in nodes], name="test", token=nodes[0].token) as bus,
        mesh_on(bus, Address(nodes[0].url, nodes[0].token)) as workers,
    ):
        await provision(bus, ack_wait=LEASE)
        for stream in (REQUESTS, FACTS, f"KV_{RUNS}", f"KV_{CLAIMS}", subjects.execute_stream("k8s")):
            assert (await bus.api(f"STREAM.INFO.{stream}"))["config"]["num_replicas"] == len(nodes)
        async with resolving(bus, settings_for(tmp_path / "projects", ack_wait=LEASE)):
            await workers.start(platform, config_model=Config, ack_wait=LEASE)
            await ask(bus, "run", {"id": "before", "pipeline": "daily"})
            await eventually(lambda: platform.started)
            leader = await eventually(partial(leader_of, bus, FACTS))
            (node,) = [node for node in nodes if node.name == leader]
            await node.kill()
            await ask(bus, "run", {"id": "after", "pipeline": "daily"})
            for run in ("before", "after"):
                await eventually(partial(_ended, bus, run))
        assert [await states(bus, run) for run in ("before", "after")] == [["accepted", "running", "completed"]] * 2
        assert sorted(platform.started.values()) == [1, 1, 1, 1], "each task had one job"


async def _ended(bus: Bus, run: str) -> bool:
    with suppress(Unreachable):  # for as long as the facts have no leader
        return (await states(bus, run))[-1:] == ["completed"]
    return False

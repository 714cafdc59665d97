"""A mesh on three nats-servers that loses the leader of its streams, again and again. Only in the long run."""

from functools import partial
from pathlib import Path

import pytest

from runmesh import subjects
from tests.chaos.audit import audit, ended
from tests.chaos.cluster import cluster, leader_of
from tests.chaos.matrix import LONG
from tests.chaos.mesh import running_mesh, working
from tests.chaos.service import REMOTE
from tests.eventually import eventually
from tests.shop import ask

RUNS = 60


@pytest.mark.skipif(not LONG, reason="takes a minute: RUNMESH_CHAOS=long")
@pytest.mark.timeout(300)
async def test_a_cluster_that_loses_its_leader_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes, running_mesh(tmp_path, nodes, (), {"ack_wait": 10}) as mesh:
        facts = await mesh.bus.api(f"STREAM.INFO.{subjects.FACTS}")
        assert facts["config"]["num_replicas"] == 3
        mesh.folder.write_pipeline("short", [{"uuid": "work", "command": mesh.folder.script("sleep 0.2")}])
        mesh.keep("resolver")
        for kind in ("local_python", REMOTE):
            mesh.keep("worker", kind)
        await working(mesh, 1)
        runs = [f"run-{number}" for number in range(RUNS)]
        for number, run in enumerate(runs):
            kind = ("local_python", REMOTE)[number % 2]
            await ask(mesh.bus, "run", {"id": run, "pipeline": "short", "executor_type": kind})
            if number % 20 == 10:
                stream = (subjects.FACTS, f"KV_{subjects.CLAIMS}", subjects.execute_stream(REMOTE))[number // 20]
                name = await eventually(partial(leader_of, mesh.bus, stream), within=30)
                (node,) = [node for node in nodes if node.name == name]
                mesh.kill_server(node)
        assert not await ended(mesh, runs, within=120), mesh.said()
        found = await audit(mesh, runs, within=60, leaders=len(nodes))
        assert not found.findings, "\n".join([*found.findings, mesh.said()])
        assert mesh.deaths["nats"] >= 3

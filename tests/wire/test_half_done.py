"""A mesh that a release left in the middle of its work is taken over by today's provisioner and services."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cloudevents import decode
from runmesh.embedded import Server
from runmesh.events import ExecuteTask
from runmesh.executors.k8s import Config
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script
from tests.integration.worker_mesh import mesh_on
from tests.shop import dead_letters, resolving, settings_for, states, task_facts
from tests.wire.messages import Spoken, restore
from tests.wire.released import VERSIONS, recorded
from tests.wire.scenes import HALF_DONE, write_half_done

RUNS = ("held", "queued", "asked")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_runs_of_a_release_are_finished(version: str, nats_server: Server, tmp_path: Path) -> None:
    streams = recorded(version, "half_done")
    held, platform = _held(streams), Platform()
    write_half_done(tmp_path)
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await restore(bus, streams)
        await provision(bus, ack_wait=ACK_WAIT)
        platform.start(held, Script())  # the job that the worker who died had begun
        address = Address(nats_server.url, nats_server.token)
        async with mesh_on(bus, address) as workers, resolving(bus, settings_for(tmp_path)):
            await workers.start(platform, config_model=Config)
            for run in RUNS:
                await eventually(partial(_ended, bus, run))

        for run in RUNS:
            assert await states(bus, run) == ["accepted", "running", "completed"]
            told = [fact.block for fact in await task_facts(bus, run) if fact.state == "completed"]
            assert told == list(HALF_DONE)
        assert platform.started[held.key] == 1, "its job was adopted"
        assert platform.started.total() == 2 * len(HALF_DONE) + 2, "`first` of the held run had ended"
        assert await dead_letters(bus) == []


async def _ended(bus: Bus, run: str) -> bool:
    return (await states(bus, run))[-1:] == ["completed"]


def _held(streams: list[dict[str, Any]]) -> ExecuteTask:
    """Return the command of the task that has a job."""
    (queue,) = [stream for stream in streams if stream["config"]["name"] == subjects.execute_stream("k8s")]
    commands = [decode(ExecuteTask, each.headers, each.data) for each in map(Spoken.of, queue["messages"])]
    (held,) = [command for command in commands if command.run == "held"]
    return held

"""A mesh in which everything happens that can be said on the wire, and one that is left in the middle of it."""

import asyncio
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cli.up import services, settings_for
from runmesh.client import Mesh
from runmesh.embedded import embedded
from runmesh.events import FINAL_RUN_STATES, RunFact
from runmesh.executors.k8s import Config
from tests import shop
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, Platform, Script
from tests.integration.test_features import AT_ONCE
from tests.integration.worker_mesh import mesh_on
from tests.shop import ask, killable, write_project
from tests.wire.messages import Spoken, overheard, stored

FEATURES: Final = Path(__file__).parents[1] / "fixtures" / "features"
EVERYTHING: Final = ("mesh.>", "$KV.>")
AGES: Final = 300_000_000.0
"""Seconds: nothing that is recorded as waiting is ever late."""
HALF_DONE: Final = ("first", "middle", "last")
"""The blocks of the runs that are left half done, each below the one before."""


async def everything(folder: Path) -> list[Spoken]:
    """Run the project `features`, and what goes wrong on a platform; return all that is said meanwhile."""
    shutil.copytree(FEATURES, folder / "projects" / "features")
    here = settings_for(folder / "projects").model_copy(update={"state_dir": folder / "state"})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MAGE_DATA_DIR", str(folder / "data"))
        async with (
            embedded(folder / "nats") as server,
            overheard(server, *EVERYTHING) as heard,
            services(here, server, 6) as (mesh, _),
        ):
            async with asyncio.TaskGroup() as scenes:
                for pipeline, fields in AT_ONCE.items():
                    scenes.create_task(_completed(mesh, pipeline, fields))
                scenes.create_task(_cancelled(mesh))
                scenes.create_task(_limited(mesh))
                scenes.create_task(_refused(mesh))
                scenes.create_task(_elsewhere(mesh, Address(server.url, server.token)))
            return list(heard)


async def _completed(mesh: Mesh, pipeline: str, fields: Any) -> None:
    end = await mesh.wait(await mesh.submit(pipeline, project="features", id=pipeline, **fields))
    if pipeline == "failing_tests":
        assert end.state == "failed"
        await mesh.wait(await mesh.retry(pipeline, reason="the test was wrong"))


async def _cancelled(mesh: Mesh) -> None:
    await mesh.submit("cancelled", project="features", id="cancelled")
    await _said(mesh.bus, "mesh.task.running.*.*.*.cancelled.slow")
    await mesh.cancel("cancelled", reason="changed my mind")
    await mesh.wait("cancelled")


async def _limited(mesh: Mesh) -> None:
    runs = [await mesh.submit("runs_wait", project="features", id=f"limited-{number}") for number in range(3)]
    await asyncio.gather(*map(mesh.wait, runs))


async def _refused(mesh: Mesh) -> None:
    await mesh.wait(await mesh.submit("basics", project="features", id="refused", executor_type="k9s"))
    await ask(mesh.bus, "run", b"not JSON \xff", project="features")
    await _said(mesh.bus, "mesh.dead.resolver.undecodable", stream=subjects.DEAD)


async def _elsewhere(mesh: Mesh, address: Address) -> None:
    """A run that waits for a worker; then there is one, and its platform loses, refuses and stops jobs."""
    scripts = {
        "lost": Script(runs=None),
        "refused": Script(submit=(Fault.REJECTED,)),
        "again": Script(submit=(Fault.REFUSED, Fault.LOST_ANSWER), exit_code=1),
        "late": Script(pending=60),
    }
    blocks: list[dict[str, Any]] = [{"uuid": name, "command": ["true"]} for name in scripts]
    blocks[-1] |= {"executor_config": {"start_timeout": 1}}
    blocks[-2] |= {"retry_config": {"retries": 1, "delay": 0}}
    document = {"name": "elsewhere", "blocks": blocks}
    fields: dict[str, Any] = {"executor_type": "k8s", "allow_blocks_to_fail": True, "timeout": 15}
    await mesh.submit(document, project="features", id="elsewhere", **fields)
    await _said(mesh.bus, "mesh.task.queued.k8s.*.*.elsewhere.lost")
    platform = Platform(**scripts)
    async with mesh_on(mesh.bus, address) as workers:
        await workers.start(platform, config_model=Config, ack_wait=10)
        await _said(mesh.bus, "mesh.task.running.k8s.*.*.elsewhere.lost")
        platform.forget(platform.job("lost"))
        await mesh.wait("elsewhere")
        await workers.processes[0].drain()


async def _said(bus: Bus, subject: str, *, stream: str = subjects.FACTS) -> None:
    await eventually(lambda: bus.last(stream, subject), within=120)


async def half_done(folder: Path) -> list[dict[str, Any]]:
    """Return a mesh whose services died: one run has a job, one waits for a worker, one was only asked for."""
    write_half_done(folder / "projects")
    patient = shop.settings_for(folder / "projects").model_copy(update={"queue_timeout": AGES})
    async with (
        embedded(folder / "nats") as server,
        connect(server.url, name="recorder", token=server.token) as bus,
        mesh_on(bus, Address(server.url, server.token)) as workers,
    ):
        await provision(bus, ack_wait=2)
        async with killable(bus, patient):
            worker = await workers.start(Platform(middle=Script(runs=None)), config_model=Config)
            await ask(bus, "run", {"id": "held", "pipeline": "half_done"})
            await _said(bus, "mesh.task.running.k8s.*.*.held.middle")
            await worker.kill()
            await ask(bus, "run", {"id": "queued", "pipeline": "half_done"})
            await _said(bus, "mesh.task.queued.k8s.*.*.queued.first")
        await ask(bus, "run", {"id": "asked", "pipeline": "half_done"})
        await eventually(lambda: _gone(bus))
        return await stored(bus)


async def _gone(bus: Bus) -> bool:
    return not await bus.bucket(subjects.WORKERS).keys()


def write_half_done(projects: Path) -> None:
    """Make the project whose runs are left half done."""
    config = {"start_timeout": AGES, "container": {"image": "alpine"}, "namespace": "batch"}
    project = write_project(projects / shop.PROJECT, executor_type="k8s", k8s_executor_config=config)
    graph = dict(zip(HALF_DONE, [(), HALF_DONE[:1], HALF_DONE[1:2]], strict=True))
    shop.write_pipeline(project, "half_done", graph, block={"type": "command", "command": ["true"]})


def ended(messages: list[Spoken]) -> dict[str, str]:
    """Return the end of every run that has one."""
    facts = [RunFact.model_validate_json(each.data) for each in messages if each.subject.startswith("mesh.run.")]
    return {fact.run: str(fact.state) for fact in facts if fact.state in FINAL_RUN_STATES}

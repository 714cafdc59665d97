"""What the mesh reads of a job's outcome, through a real worker; and callbacks, which run while their run stops."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.claims import Claim, Stop
from runmesh.events import OUTCOME, Cause
from tests.conftest import Address
from tests.executors.scripted import LocalExecutor, Platform, Script
from tests.integration.worker_mesh import RUN, Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def test_an_unmet_condition_is_the_one_terminal_fact_of_its_task(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "left.json").write_text(json.dumps({"condition": {"met": False, "block": "gate", "reason": "no"}}))
    await mesh.start(Platform(load=Script(runs=0.05)))
    event = await mesh.order("load", environment={OUTCOME: str(tmp_path / "left.json")}, needs_outcome=True)
    fact = await mesh.ended(event)
    assert (fact.state, fact.reason) == ("condition_failed", "condition 'gate': no")
    assert [str(fact.state) for fact in await mesh.facts(event)] == ["submitted", "running", "condition_failed"]


async def test_a_task_whose_outcome_is_needed_never_completes_without(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"children": {"co')
    await mesh.start(Platform(load=Script(runs=0.05)))
    for block, name in (("load", "torn.json"), ("report", "missing.json")):
        event = await mesh.order(block, environment={OUTCOME: str(tmp_path / name)}, needs_outcome=True)
        fact = await mesh.ended(event)
        assert (fact.state, fact.cause) == ("failed", Cause.CONFIG)


async def test_a_job_that_ended_before_its_dead_owner_could_note_it_is_told_with_what_it_left(
    mesh: Mesh, tmp_path: Path
) -> None:
    left = {"exit_code": 0, "children": {"count": 2}}
    (tmp_path / "left.json").write_text(json.dumps(left))
    event = mesh.command("load", environment={OUTCOME: str(tmp_path / "left.json")}, needs_outcome=True)
    now = datetime.now(UTC)
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=now).submitting(now))
    await mesh.start(Platform(), LocalExecutor)
    await mesh.order("load", environment=event.environment, needs_outcome=True)
    fact = await mesh.ended(event)
    assert (fact.state, fact.outcome) == ("completed", left)


async def test_a_callback_runs_although_its_run_is_stopped_and_stops_when_it_is_named(mesh: Mesh) -> None:
    await mesh.start(Platform(bell=Script(runs=0.5), siren=Script(runs=None)))
    await mesh.bus.bucket(subjects.RUNS).put(subjects.cancelling(RUN), Stop(keys="all").encode())
    assert (await mesh.ended(await mesh.order("bell", callback=True))).state == "completed"
    assert (await mesh.ended(await mesh.order("load"))).state == "cancelled"
    siren = await mesh.order("siren", callback=True)
    await mesh.submitted(siren)
    await mesh.bus.bucket(subjects.RUNS).put(subjects.cancelling(RUN), Stop(keys=(siren.key,)).encode())
    assert (await mesh.ended(siren)).state == "cancelled"

"""Submitting: ambiguous answers, refusals, rates, and platforms that don't answer."""

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.claims import ClaimPhase
from runmesh.events import Cause
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, Platform, Script, ScriptedExecutor
from tests.integration.worker_mesh import Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LATE])
async def test_a_submit_without_a_clear_answer_adopts_what_it_started(mesh: Mesh, fault: Fault) -> None:
    platform = Platform(load=Script(runs=0.1, submit=(fault,)))
    await mesh.start(platform)
    event = await mesh.order("load")
    assert (await mesh.ended(event)).state == "completed"
    assert platform.started[event.key] == 1
    assert platform.calls["submit"] == 1


async def test_a_submit_that_started_nothing_is_tried_again(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit=(Fault.LOST_REQUEST, Fault.LOST_REQUEST)))
    await mesh.start(platform)
    event = await mesh.order("load")
    assert (await mesh.ended(event)).state == "completed"
    assert platform.started[event.key] == 1
    assert platform.calls["submit"] == 3


async def test_a_submit_that_never_gives_a_clear_answer_ends(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(submit=(Fault.LOST_REQUEST,) * 9)))
    fact = await mesh.ended(await mesh.order("load"))
    assert (fact.state, fact.cause) == ("failed", Cause.INFRASTRUCTURE)
    await mesh.settled()


async def test_what_may_be_running_and_cant_be_found_out_is_unverified(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None, submit=(Fault.LOST_ANSWER,), finds=False))
    await mesh.start(platform)
    event = await mesh.order("load")
    fact = await mesh.ended(event)
    assert (fact.state, fact.cause, fact.unconfirmed) == ("failed", Cause.UNVERIFIED, True)
    assert platform.calls["submit"] == 1
    await eventually(lambda: not platform.alive)  # the reaper's


class Hurried(ScriptedExecutor):
    find_window: ClassVar[float] = 0.2


async def test_a_submit_that_hangs_is_given_up_and_looked_for(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit_takes=3600.0))
    await mesh.start(platform, Hurried)
    event = await mesh.order("load")
    await platform.submitting.wait()
    job = platform.start(event, Script(runs=0.1))
    fact = await mesh.ended(event)
    assert (fact.state, fact.handle) == ("completed", job)
    assert platform.started[event.key] == 1


async def test_a_throttled_worker_stops_pulling_and_goes_on_later(mesh: Mesh) -> None:
    platform = Platform(load=Script(submit=(Fault.REFUSED,), retry_after=3.0))
    await mesh.start(platform, slots=1)
    event = await mesh.order("load")
    await platform.submitting.wait()

    async def waits_without_a_job() -> bool:
        claim = await mesh.claim(event)
        return claim is not None and claim.phase is ClaimPhase.CLAIMED and not claim.may_have_job

    await eventually(waits_without_a_job)
    other = await mesh.order("report")
    assert await mesh.claim(other) is None
    assert (await mesh.ended(event)).state == "completed"
    assert (await mesh.ended(other)).state == "completed"
    assert platform.calls["find"] == 0


async def test_a_platform_that_refuses_for_too_long_has_no_capacity(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(submit=(Fault.REFUSED,) * 99)))
    fact = await mesh.ended(await mesh.order("load", start_timeout=0.5))
    assert (fact.state, fact.cause) == ("failed", Cause.CAPACITY)
    assert fact.unconfirmed is None
    await mesh.settled()


class Rated(ScriptedExecutor):
    submit_rate: ClassVar[float] = 20.0


async def test_a_rate_limit_spreads_submissions(mesh: Mesh) -> None:
    platform = Platform()
    await mesh.start(platform, Rated)
    events = [await mesh.order(f"b{number}") for number in range(10)]
    facts = [await mesh.ended(event) for event in events]
    first, last = min(fact.at for fact in facts), max(fact.at for fact in facts)
    assert (last - first).total_seconds() > 0.3


async def test_adoption_is_not_starved_by_held_jobs(mesh: Mesh) -> None:
    blocks = {f"b{number}": Script(runs=None) for number in range(40)}
    platform = Platform(**blocks)
    first = await mesh.start(platform, slots=2)
    events = [await mesh.order(block) for block in blocks]
    await eventually(lambda: len(platform.alive) == 40)
    await first.kill()
    await mesh.start(platform, slots=2)

    async def all_adopted() -> bool:
        claims = [await mesh.claim(event) for event in events]
        return all(claim is not None and claim.owner == "worker-1" for claim in claims)

    await eventually(all_adopted)
    assert set(platform.started.values()) == {1}
    assert (await mesh.bus.stream_info(subjects.execute_stream("k8s"))).messages == 40

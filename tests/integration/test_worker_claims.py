"""Who owns a task: copies, dead owners, races, hand-overs, and what can't be read at all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runmesh import cloudevents, subjects
from runmesh.bus import Bus
from runmesh.claims import Claim, ClaimPhase
from runmesh.events import Cause, TaskState
from runmesh.executor import Handle, Observation, Phase
from tests.conftest import ACK_WAIT, Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, LocalExecutor, Platform, Script
from tests.facts import task_fact
from tests.integration.worker_mesh import POOL, PROJECT, RUN, TYPE, Mesh, mesh_on


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


async def beating(mesh: Mesh, owner: str) -> None:
    await mesh.bus.bucket(subjects.WORKERS).put(subjects.worker(TYPE, POOL, owner), b"{}")


async def test_a_dead_workers_job_is_adopted_and_never_started_again(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await first.kill()
    await mesh.start(platform)

    async def is_adopted() -> bool:
        claim = await mesh.claim(event)
        return claim is not None and claim.owner == "worker-1"

    await eventually(is_adopted)
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))
    fact = await mesh.ended(event)

    assert (fact.state, fact.worker, fact.epoch) == ("completed", "worker-1", 1)
    assert platform.started[event.key] == 1
    await mesh.settled()


async def test_two_workers_racing_over_200_tasks_run_each_once(mesh: Mesh) -> None:
    platform = Platform()
    await mesh.start(platform)
    await mesh.start(platform)
    events = [await mesh.order(f"b{number}", run=f"run-{number % 7}") for number in range(200)]
    for event in events:
        await mesh.publish(event)

    await mesh.settled()

    assert sorted(platform.started) == sorted(event.key for event in events)
    assert set(platform.started.values()) == {1}
    told = [message async for message in mesh.bus.replay(subjects.FACTS, *subjects.TERMINAL_TASK_FACTS)]
    assert sorted(message.headers["ce-id"].split(".")[0] for message in told) == sorted(e.key for e in events)
    assert {message.headers["ce-id"].split(".")[1] for message in told} == {"completed"}


async def test_two_workers_one_of_which_dies_run_each_task_once(mesh: Mesh) -> None:
    blocks = {f"b{number}": Script(runs=0.3, submit_takes=0.02) for number in range(60)}
    platform = Platform(**blocks)
    first = await mesh.start(platform, slots=8)
    await mesh.start(platform, slots=8)
    events = [await mesh.order(block) for block in blocks]
    await eventually(lambda: len(platform.jobs) > 20)
    await first.kill()

    for event in events:
        assert (await mesh.ended(event)).state == "completed"
    assert set(platform.started.values()) == {1}
    await mesh.settled()


async def test_a_copy_of_a_held_task_is_no_take_over(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=1.75 * ACK_WAIT))
    await mesh.start(platform)
    await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.publish(event)
    await mesh.publish(event)

    fact = await mesh.ended(event)

    assert fact.epoch == 0
    assert platform.started[event.key] == 1
    await mesh.settled()
    assert [str(f.state) for f in await mesh.facts(event)].count("completed") == 1


async def test_a_task_of_a_living_owner_is_left_alone_and_taken_once_the_owner_is_gone(mesh: Mesh) -> None:
    platform = Platform()
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="someone", claimed_at=now()))
    await beating(mesh, "someone")
    await mesh.start(platform)
    await mesh.order("load")

    async def copy_was_seen() -> bool:
        await beating(mesh, "someone")
        info = await mesh.bus.consumer_info(subjects.execute_stream(TYPE), subjects.execute_consumer(POOL))
        return info.ack_pending == 1

    await eventually(copy_was_seen)
    assert not platform.jobs
    fact = await mesh.ended(event)
    assert (fact.state, fact.epoch, fact.worker) == ("completed", 1, "worker-0")


async def test_a_terminal_claim_whose_fact_was_told_long_ago_is_only_acknowledged(mesh: Mesh) -> None:
    facts = (await mesh.bus.api(f"STREAM.INFO.{subjects.FACTS}"))["config"]
    await mesh.bus.api(f"STREAM.UPDATE.{subjects.FACTS}", {**facts, "duplicate_window": 100_000_000})
    event, fact = mesh.command("load"), task_fact("load", "completed", n=3, run=RUN, executor_type=TYPE)
    subject = subjects.task_fact(fact.state, TYPE, POOL, PROJECT, fact.run, fact.block)
    await mesh.bus.publish(subject, fact.to_json(), message_id=fact.ce_id)
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=fact.at).finished(fact))
    await asyncio.sleep(0.3)  # until the stream has forgotten its id
    await mesh.start(Platform())
    await mesh.publish(event)
    await mesh.settled()
    assert await mesh.facts(event) == [fact]


async def test_a_terminal_claim_is_told_again_cleaned_up_and_acknowledged(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.0))
    event = mesh.command("load")
    await mesh.start(platform)
    await mesh.order("load")
    told = await mesh.ended(event)
    claim = await mesh.claim(event)
    assert claim
    assert claim.handle
    platform.jobs[claim.handle].removed = False
    for stored in [message async for message in mesh.bus.replay(subjects.FACTS, "mesh.task.>")]:
        await mesh.bus.delete_message(subjects.FACTS, stored.sequence)

    unseen = mesh.command("other")
    fact = told.model_copy(update={"key": unseen.key, "block": "other"})
    await mesh.write_claim(unseen, claim.model_copy(update={"fact": fact}))
    await mesh.publish(unseen)

    assert await mesh.ended(unseen) == fact
    await mesh.settled()
    assert platform.jobs[claim.handle].removed
    assert platform.started[unseen.key] == 0


async def test_a_claim_that_the_resolver_ended_is_never_run(mesh: Mesh) -> None:
    platform = Platform()
    event = mesh.command("load")
    ended = Claim(owner="resolver", claimed_at=now(), phase=ClaimPhase.TERMINAL)
    await mesh.write_claim(event, ended)
    await mesh.start(platform)
    await mesh.order("load")
    await mesh.settled()
    assert not platform.jobs
    assert await mesh.facts(event) == []


async def test_a_claim_found_in_submitting_is_looked_for_before_anything_else(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=0.3))
    started, nothing = mesh.command("load"), mesh.command("report")
    for event in (started, nothing):
        await mesh.write_claim(event, Claim(owner="dead", claimed_at=now()).submitting(now()))
    process = await mesh.start(platform)
    handle = process.executor.platform.start(started, Script(runs=0.3))
    await mesh.order("load")
    await mesh.order("report")

    fact = await mesh.ended(started)
    assert (fact.state, fact.handle, fact.epoch) == ("completed", handle, 1)
    assert (await mesh.ended(nothing)).state == "completed"
    assert set(platform.started.values()) == {1}


async def test_a_local_job_dies_with_its_owner_and_is_lost(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    first = await mesh.start(platform, LocalExecutor)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await first.kill()
    assert not platform.alive
    await mesh.start(platform, LocalExecutor)

    fact = await mesh.ended(event)

    assert (fact.state, fact.cause, fact.epoch) == ("failed", Cause.LOST, 1)
    assert platform.started[event.key] == 1


async def test_a_local_job_that_its_dead_owner_may_have_started_is_not_started_again(mesh: Mesh) -> None:
    platform = Platform()
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=now()).submitting(now()))
    await mesh.start(platform, LocalExecutor)
    await mesh.order("load")
    assert (await mesh.ended(event)).cause is Cause.LOST
    assert not platform.jobs


async def test_a_held_task_is_not_delivered_again(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(runs=1.5 * ACK_WAIT)))
    await mesh.ended(await mesh.order("load"))
    durable = f"{subjects.execute_stream(TYPE)}.{subjects.execute_consumer(POOL)}"
    assert (await mesh.bus.api(f"CONSUMER.INFO.{durable}"))["delivered"]["consumer_seq"] == 1


async def test_a_local_job_that_left_an_outcome_before_its_owner_died_is_not_lost(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "left.json").write_text('{"exit_code": 0}')
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="dead", claimed_at=now()).submitting(now()).submitted(Handle("h"), now()))
    await mesh.start(Platform(), LocalExecutor)
    await mesh.order("load", environment={"RUNMESH_OUTCOME": str(tmp_path / "left.json")})
    fact = await mesh.ended(event)
    assert (fact.state, fact.outcome) == ("completed", {"exit_code": 0})


async def test_a_task_that_five_workers_could_not_start_is_a_dead_letter_and_fails(mesh: Mesh) -> None:
    platform = Platform()
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="dead", epoch=4, claimed_at=now()).submitting(now()))
    await mesh.start(platform)
    await mesh.order("load")

    fact = await mesh.ended(event)

    assert (fact.state, fact.cause, fact.epoch) == ("failed", Cause.CONFIG, 5)
    assert [letter["reason"] for letter in await mesh.dead()] == ["poison"]
    assert not platform.jobs
    await mesh.settled()


async def test_what_cant_be_read_is_a_dead_letter_and_fails_the_task_of_its_subject(mesh: Mesh) -> None:
    await mesh.start(Platform())
    await mesh.publish_raw("load", b"\xff not json", headers={"Runmesh-Attempt": "2"})
    fact = await mesh.ended(mesh.command("load", attempt=2))
    assert (fact.state, fact.cause, fact.run, fact.block, fact.attempt) == ("failed", Cause.CONFIG, RUN, "load", 2)
    await mesh.settled()
    (letter,) = await mesh.dead()
    assert (letter["reason"], letter["encoding"]) == ("undecodable", "base64")
    good = await mesh.order("report")
    assert (await mesh.ended(good)).state == "completed"


async def test_an_unreadable_copy_does_not_fail_a_task_that_runs(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    await mesh.start(platform)
    event = await mesh.order("load")
    await mesh.submitted(event)
    await mesh.publish_raw("load", b"{}")
    await eventually(mesh.dead)
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))
    assert (await mesh.ended(event)).state == "completed"
    assert len(await mesh.dead()) == 1


async def test_what_cant_be_read_is_not_dropped_while_another_worker_has_its_task(mesh: Mesh) -> None:
    event = mesh.command("load")
    await mesh.write_claim(event, Claim(owner="someone", claimed_at=now()))
    await beating(mesh, "someone")
    await mesh.start(Platform())
    await mesh.publish_raw("load", b"{}")

    assert await eventually(mesh.dead)

    assert await mesh.record("someone") is None
    await mesh.settled()
    claim = await mesh.claim(event)
    assert claim is not None
    assert claim.phase is ClaimPhase.CLAIMED


async def test_an_unknown_version_waits_for_a_worker_that_knows_it(mesh: Mesh) -> None:
    await mesh.start(Platform())
    event = mesh.command("load")
    written = cloudevents.headers_for(event, event_id="x", source="/test")
    await mesh.publish_raw("load", event.to_json(), headers={**written, "ce-type": "dev.runmesh.task.execute.v9"})
    seen = await mesh.order("report")
    await mesh.ended(seen)

    async def waits() -> bool:
        info = await mesh.bus.consumer_info(subjects.execute_stream(TYPE), subjects.execute_consumer(POOL))
        return info.ack_pending == 1

    await eventually(waits)
    assert await mesh.dead() == []
    assert await mesh.facts(event) == []


async def test_an_unknown_version_that_no_upgrade_cures_fails_in_the_end(mesh: Mesh) -> None:
    await mesh.start(Platform(), ack_wait=1.0)
    event = mesh.command("load")
    written = cloudevents.headers_for(event, event_id="x", source="/test")
    await mesh.publish_raw("load", event.to_json(), headers={**written, "ce-type": "dev.runmesh.task.execute.v9"})
    assert (await mesh.ended(event)).cause is Cause.CONFIG
    await mesh.settled()
    assert len(await mesh.dead()) == 1


@pytest.mark.parametrize("wrong", [{"executor_type": "ecs"}, {"pool": "gpu"}, {"key": "a.*.>"}])
async def test_a_command_on_a_subject_that_is_not_its_own_is_a_dead_letter(mesh: Mesh, wrong: dict[str, str]) -> None:
    platform = Platform()
    await mesh.start(platform)
    await mesh.publish(mesh.command("load", **wrong))
    assert await eventually(mesh.dead)
    await mesh.settled()
    assert not platform.jobs


async def test_every_exit_of_a_delivery_answers_it(mesh: Mesh) -> None:
    """One delivery for each way out: whatever becomes of it, none is left behind."""
    platform = Platform(
        completes=Script(),
        fails=Script(exit_code=1),
        rejected=Script(submit=(Fault.REJECTED,)),
        refused=Script(submit=(Fault.REFUSED,)),
        ambiguous=Script(submit=(Fault.LOST_ANSWER,)),
        silent=Script(submit=(Fault.LOST_ANSWER,), finds=False),
        stopped=Script(runs=None),
    )
    await mesh.start(platform)
    blocks = (*platform.scripts, "copied", "unknown_run", "misconfigured", "ended_before")
    events = {block: mesh.command(block, run="gone" if block == "unknown_run" else RUN) for block in blocks}
    await mesh.write_claim(events["ended_before"], Claim(owner="resolver", claimed_at=now(), phase=ClaimPhase.TERMINAL))
    await mesh.order("first")
    for block, event in events.items():
        await mesh.publish(event.model_copy(update={"config": {"nonsense": 1}}) if block == "misconfigured" else event)
    await mesh.publish(events["copied"])
    await mesh.publish_raw("unreadable", b"[]")
    await mesh.publish_raw("unreadable", b"", run="x" * 65)
    await mesh.submitted(events["stopped"])
    await mesh.cancel(events["stopped"].key)

    await mesh.settled()

    ends = {block: (await mesh.ended(event)).state for block, event in events.items() if block != "ended_before"}
    failed = dict.fromkeys(("fails", "rejected", "silent", "misconfigured"), TaskState.FAILED)
    cancelled = dict.fromkeys(("stopped", "unknown_run"), TaskState.CANCELLED)
    assert ends == {**dict.fromkeys(ends, TaskState.COMPLETED), **failed, **cancelled}


async def test_a_worker_that_lost_one_task_tells_nothing_more_of_it(mesh: Mesh) -> None:
    platform = Platform(load=Script(runs=None))
    first = await mesh.start(platform)
    event = await mesh.order("load")
    claim = await mesh.submitted(event)
    await mesh.write_claim(event, claim.model_copy(update={"owner": "usurper", "epoch": 9}))
    platform.job("load").end(Observation(Phase.SUCCEEDED, 0))

    fact = await mesh.ended(event)

    assert (fact.epoch, fact.worker) == (10, first.worker_id)
    assert platform.started[event.key] == 1
    assert not first.task.done()

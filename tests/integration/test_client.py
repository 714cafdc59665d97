"""`Mesh` against a real server, with facts published by hand."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from runmesh import Mesh, subjects
from runmesh.bus import Bus
from runmesh.claims import Beat
from runmesh.errors import Invalid
from runmesh.events import RunFact
from runmesh.view import Fact
from tests.conftest import Address
from tests.facts import PIPELINE, PROJECT, RUN, publish, requests, run_fact, task_fact, whole_run, write


@pytest.fixture
async def mesh(bus: Bus) -> Mesh:
    return Mesh(bus)


async def collect(facts: AsyncIterator[Fact]) -> list[str]:
    return [fact.ce_id async for fact in facts]


def ids(facts: list[RunFact | Any]) -> list[str]:
    return [fact.ce_id for fact in facts]


async def test_a_request_is_stored_with_the_id_that_the_caller_learns(mesh: Mesh, bus: Bus) -> None:
    run = await mesh.submit(PIPELINE, project=PROJECT, variables={"day": 3}, blocks=["load"], timeout=60)
    assert await requests(bus) == [
        (
            "mesh.request.run.shop",
            {
                "id": run,
                "pipeline": PIPELINE,
                "blocks": {"names": ["load"], "upstream": False, "downstream": False},
                "executor_config": {},
                "block_config": {},
                "variables": {"day": 3},
                "event": {},
                "timeout": 60.0,
                "labels": {},
            },
        )
    ]


async def test_the_same_request_twice_is_stored_once_but_another_under_its_id_too(mesh: Mesh, bus: Bus) -> None:
    for variables in ({"day": 1}, {"day": 1}, {"day": 2}):
        await mesh.submit(PIPELINE, project=PROJECT, id="nightly", variables=variables)
    assert [body["variables"] for _, body in await requests(bus)] == [{"day": 1}, {"day": 2}]


async def test_what_no_request_may_say_is_refused_before_it_is_sent(mesh: Mesh, bus: Bus) -> None:
    with pytest.raises(Invalid, match="did you mean 'variables'"):
        await mesh.submit(PIPELINE, project=PROJECT, variable={})
    with pytest.raises(Invalid, match="id: "):
        await mesh.submit(PIPELINE, project=PROJECT, id="no.dots")
    assert await requests(bus) == []


async def test_watching_a_finished_run_yields_what_is_stored(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, *whole_run("completed", run="other"), *whole_run())
    assert await collect(mesh.watch(RUN)) == ids(whole_run())


async def test_watching_a_run_that_goes_on_yields_what_comes(mesh: Mesh, bus: Bus) -> None:
    facts = whole_run()
    await publish(bus, *facts[:3])
    watching = mesh.watch(RUN)
    first = [(await anext(watching)).ce_id for _ in range(3)]
    await publish(bus, *facts[3:])
    assert first + await collect(watching) == ids(facts)


async def test_the_terminal_fact_comes_last_even_when_it_was_stored_earlier(mesh: Mesh, bus: Bus) -> None:
    facts = whole_run()
    await publish(bus, *facts[:-2], facts[-1], facts[-2])
    assert await collect(mesh.watch(RUN)) == ids(facts)


async def test_a_run_submitted_here_may_be_watched_before_its_first_fact(mesh: Mesh, bus: Bus) -> None:
    run = await mesh.submit(PIPELINE, project=PROJECT)
    waiting = asyncio.create_task(mesh.wait(run))
    await publish(bus, *whole_run("failed", run=run))
    assert (await waiting).state == "failed"


async def test_an_unknown_run_is_named(mesh: Mesh) -> None:
    for ask in (mesh.wait("ghost"), mesh.show("ghost"), mesh.cancel("ghost"), mesh.retry("ghost")):
        with pytest.raises(Invalid, match="nothing is known of 'ghost'"):
            await ask
    with pytest.raises(Invalid, match="nothing is known of 'ghost'"):
        await collect(mesh.watch("ghost"))
    with pytest.raises(Invalid, match="no run id"):
        await mesh.show("*.>")


async def test_what_somebody_else_wrote_among_the_facts_is_passed_over(mesh: Mesh, bus: Bus) -> None:
    await bus.publish(f"mesh.run.odd.shop.orders.{RUN}", b"\x00 not a fact")
    await publish(bus, *whole_run())
    assert await collect(mesh.watch(RUN)) == ids(whole_run())


async def test_what_is_no_dead_letter_says_nothing_of_a_request(mesh: Mesh, bus: Bus) -> None:
    await bus.publish(subjects.dead("resolver", "odd"), b"not a letter of ours")
    run = await mesh.submit(PIPELINE, project=PROJECT)
    await bus.delete_message(subjects.REQUESTS, 1)
    await mesh.taken(run)


async def test_stored_logs_are_read_by_run_and_by_block(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, *whole_run())
    await write(bus, "load", "one", "two")
    await write(bus, "report", "three")
    assert [batch.lines async for batch in mesh.logs(RUN)] == [("one", "two"), ("three",)]
    assert [batch.lines async for batch in mesh.logs(RUN, "report")] == [("three",)]


async def test_what_is_no_output_is_passed_over(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, *whole_run())
    await write(bus, "load", "one")
    await bus.publish(subjects.log("local_python", "default", PROJECT, RUN, "load"), b"not lines of ours")
    await write(bus, "report", "two")
    for follow in (False, True):
        assert [batch.lines async for batch in mesh.logs(RUN, follow=follow)] == [("one",), ("two",)]


async def test_following_logs_ends_when_the_run_has_ended_and_all_is_read(mesh: Mesh, bus: Bus) -> None:
    facts = whole_run()
    await publish(bus, *facts[:4])
    await write(bus, "load", "one")
    following = mesh.logs(RUN, follow=True)
    lines = list((await anext(following)).lines)
    await write(bus, "load", "two", first=2)
    lines += (await anext(following)).lines
    await write(bus, "report", "three")
    await publish(bus, *facts[4:])
    lines += [line async for batch in following for line in batch.lines]
    assert lines == ["one", "two", "three"]


async def test_cancel_and_retry_go_to_the_project_of_the_run(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, *whole_run("failed"))
    await mesh.cancel(RUN, ["load"], reason="wrong day")
    new = await mesh.retry(RUN)
    assert await requests(bus) == [
        ("mesh.request.cancel.shop", {"run": RUN, "blocks": ["load"], "reason": "wrong day"}),
        ("mesh.request.retry.shop", {"run": RUN, "id": new}),
    ]


async def test_runs_are_listed_newest_first(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, *whole_run("failed", run="first"), run_fact("accepted", run="second"))
    assert [(view.run, view.state) for view in await mesh.runs()] == [("second", "accepted"), ("first", "failed")]
    assert await mesh.runs("elsewhere") == []


async def test_showing_a_run_folds_its_facts(mesh: Mesh, bus: Bus) -> None:
    await publish(bus, run_fact("accepted"), task_fact("load", "running", 1, worker="w1"))
    view = await mesh.show(RUN)
    assert (view.project, view.blocks["load"].worker) == (PROJECT, "w1")


async def test_workers_are_listed_as_they_describe_themselves(mesh: Mesh, bus: Bus) -> None:
    bucket = bus.bucket(subjects.WORKERS)
    said = Beat(since=datetime.now(UTC), slots=32, held=3, host="node", version="1", state="draining")
    await bucket.put(subjects.worker("k8s", "eu:1", "w2"), said.encode())
    await bucket.put(subjects.worker("ecs", "default", "w1"), b"\x00 of another version")
    first, second = await mesh.workers()
    assert (first.executor_type, first.worker, first.beat) == ("ecs", "w1", None)
    assert (second.pool, second.beat) == ("eu:1", said)


async def test_a_program_connects_with_url_and_token(bus: Bus, nats_address: Address) -> None:
    await publish(bus, *whole_run())
    async with Mesh.connect(nats_address.url, nats_address.token) as connected:
        assert (await connected.wait(RUN)).state == "completed"

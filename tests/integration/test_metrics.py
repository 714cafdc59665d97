"""What services count for Prometheus."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from runmesh import subjects
from runmesh.bus import Bus, Message, Stored
from runmesh.embedded import Server
from runmesh.errors import Invalid, Unreachable
from runmesh.events import FINAL_RUN_STATES
from runmesh.resolver.queues import Queue, Queues
from runmesh.subjects import ExecutorType
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, Platform, Script
from tests.integration.nats_users import connected
from tests.integration.worker_mesh import mesh_on
from tests.shop import answering, ask, resolving, settings_for, states, write_pipeline, write_project

Labels = dict[str, str]
HERE: Labels = {"executor": "k8s", "pool": "default"}


class Growth:
    """By how much every figure has grown since it was begun."""

    def __init__(self) -> None:
        self._before = self._all()

    def of(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return self._all().get(key, 0.0) - self._before.get(key, 0.0)

    def _all(self) -> dict[Any, float]:
        samples = (sample for family in REGISTRY.collect() for sample in family.samples)
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


async def ended(bus: Bus, *runs: str) -> None:
    async def all_ended() -> bool:
        return all([FINAL_RUN_STATES & set(await states(bus, run)) for run in runs])

    await eventually(all_ended)


async def test_what_becomes_of_requests_is_counted(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "one", {"only": []})
    growth = Growth()
    async with resolving(bus, settings_for(tmp_path)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await ask(bus, "run", {"pipeline": "two", "id": "r2"})
        await ask(bus, "run", {"pipeline": "one", "id": "r3", "blocs": []})
        await ask(bus, "run", {"pipeline": "one", "id": "r4"}, project="made-up")
        await ask(bus, "run", b"nonsense")
        await ask(bus, "dance", {})
        command = {"uuid": "a", "command": ["true"]}
        await ask(bus, "run", {"pipeline": {"blocks": [command]}, "id": "r5"}, project="made-up")
        await ended(bus, "r1", "r2", "r3", "r4", "r5")
        letters = {"service": "resolver", "reason": "undecodable"}
        await eventually(lambda: growth.of("runmesh_dead_letters_total", **letters) == 2)
    assert growth.of("runmesh_requests_total", verb="run") == 6
    assert growth.of("runmesh_requests_total", verb="unknown") == 1
    assert growth.of("runmesh_rejections_total", code="not_found") == 2
    assert growth.of("runmesh_rejections_total", code="invalid") == 1
    # Anybody may write any project: only one that there is becomes a label.
    assert growth.of("runmesh_runs_total", project="", state="rejected") == 3
    assert growth.of("runmesh_runs_total", project="", state="completed") == 1
    assert growth.of("runmesh_runs_total", project="shop", state="accepted") == 1
    assert growth.of("runmesh_runs_total", project="shop", state="completed") == 1
    assert growth.of("runmesh_tasks_total", executor="local_python", pool="default", state="queued", cause="") == 2
    assert growth.of("runmesh_request_to_execute_seconds_count") == 2
    assert growth.of("runmesh_run_duration_seconds_count", project="shop") == 1


async def test_the_life_of_a_task_is_counted_and_timed(bus: Bus, nats_address: Address) -> None:
    growth = Growth()
    async with mesh_on(bus, nats_address) as mesh:
        platform = Platform(good=Script(submit=(Fault.REFUSED,)), bad=Script(exit_code=1), long=Script(runs=None))
        await mesh.start(platform)
        for block in ("good", "bad"):
            await mesh.ended(await mesh.order(block))
        await mesh.settled()
        await mesh.order("long")
        await eventually(lambda: growth.of("runmesh_tasks_total", **HERE, state="running", cause="") >= 1)
        assert REGISTRY.get_sample_value("runmesh_tasks_held", HERE) == 1
    assert growth.of("runmesh_tasks_total", **HERE, state="completed", cause="") == 1
    assert growth.of("runmesh_tasks_total", **HERE, state="failed", cause="user") == 1
    assert growth.of("runmesh_tasks_total", **HERE, state="submitted", cause="") == 3
    assert growth.of("runmesh_submissions_refused_total", **HERE) == 1
    assert growth.of("runmesh_execute_to_submitted_seconds_count", **HERE) == 3
    assert growth.of("runmesh_end_to_fact_seconds_count", **HERE) == 2
    assert growth.of("runmesh_task_duration_seconds_count", **HERE) == 2


async def test_a_fact_that_is_told_again_is_counted_once(bus: Bus, nats_address: Address) -> None:
    growth = Growth()
    async with mesh_on(bus, nats_address) as mesh:
        await mesh.start(Platform())
        event = await mesh.order("load")
        await mesh.ended(event)
        await mesh.settled()
        await mesh.publish(event)  # as the sweep does where it doesn't know of the end yet
        await mesh.settled()
    assert growth.of("runmesh_tasks_total", **HERE, state="completed", cause="") == 1


async def test_how_the_queues_stand_is_told(bus: Bus) -> None:
    execute, consumer = subjects.execute_stream("k8s"), subjects.execute_consumer("default")
    for block in ("first", "second"):
        await bus.publish(subjects.execute("k8s", "default", "shop", "r1", block), b"{}")
    await ask(bus, "run", {"pipeline": "one"})
    queues: dict[tuple[str, str], Queue] = {}

    async def taken() -> bool:
        queues.update({(queue.stream, queue.consumer): queue for queue in await Queues(bus).look()})
        return queues[execute, consumer].taken == 1

    async with bus.consume(execute, consumer, slots=1) as pump:
        await anext(pump)
        await eventually(taken)
    tasks, requests = queues[execute, consumer], queues["REQUESTS", "resolver"]
    assert (tasks.pending, requests.pending) == (1, 1)
    assert 0 < tasks.oldest < requests.oldest + 60
    assert queues["FACTS", "resolver"].oldest == 0


async def test_what_waits_behind_others_messages_is_found(bus: Bus) -> None:
    """The resolver takes only the ends of tasks from among all facts."""
    for state in ("running", "completed"):
        await bus.publish(subjects.task_fact(state, "k8s", "default", "shop", "r1", "clean"), b"{}")
    [facts] = [queue for queue in await Queues(bus).look() if queue.stream == "FACTS"]
    stored = await bus.last("FACTS", "mesh.task.completed.>")
    assert facts.pending == 1
    assert stored
    assert facts.oldest <= (datetime.now(UTC) - stored.at).total_seconds()


async def test_a_resolver_that_is_asked_shows_the_queues(bus: Bus, tmp_path: Path) -> None:
    async with resolving(bus, settings_for(tmp_path, health_port=0)):
        labels = {"stream": "EXECUTE_ecs", "consumer": "pool_default"}
        await eventually(lambda: REGISTRY.get_sample_value("runmesh_queue_pending", labels) is not None)
    # It may wait for what vanished meanwhile, or for its end: what it saw last is worth nothing.
    assert REGISTRY.get_sample_value("runmesh_queue_pending", labels) is None


async def test_a_type_without_a_stream_hides_no_other(bus: Bus) -> None:
    await bus.api("STREAM.DELETE.EXECUTE_ecs")
    assert "EXECUTE_k8s" in {queue.stream for queue in await Queues(bus).look()}


async def test_the_resolvers_own_user_may_look_at_the_queues(server: Server) -> None:
    async with connected(server, "resolver") as bus:
        assert len(await Queues(bus).look()) == 2 + len(ExecutorType)
        assert not bus.fatal.done()


async def test_a_queue_that_is_gone_is_told_no_more(bus: Bus) -> None:
    consumer = {"stream_name": "EXECUTE_ecs", "config": {"durable_name": "pool_x", "ack_policy": "explicit"}}
    await bus.api("CONSUMER.DELETE.EXECUTE_ecs.pool_default")  # a work queue has one for each message
    await bus.api("CONSUMER.CREATE.EXECUTE_ecs.pool_x", consumer)
    queues, labels = Queues(bus), {"stream": "EXECUTE_ecs", "consumer": "pool_x"}
    await queues.tell()
    assert REGISTRY.get_sample_value("runmesh_queue_pending", labels) == 0
    await bus.api("CONSUMER.DELETE.EXECUTE_ecs.pool_x")
    await queues.tell()
    assert REGISTRY.get_sample_value("runmesh_queue_pending", labels) is None


async def test_what_cant_be_seen_is_not_told(bus: Bus) -> None:
    queues, labels = Queues(bus), {"stream": "FACTS", "consumer": "resolver"}
    await queues.tell()
    assert REGISTRY.get_sample_value("runmesh_queue_pending", labels) == 0
    await bus.api("CONSUMER.DELETE.FACTS.resolver")
    await queues.tell()
    assert REGISTRY.get_sample_value("runmesh_queue_pending", labels) is None


class Deaf(Bus):
    """A connection that is lost each time before the end of a run is confirmed."""

    def post(self, subject: str, data: bytes, **more: Any) -> asyncio.Future[Stored]:
        stored = super().post(subject, data, **more)
        if not subject.startswith("mesh.run.completed."):
            return stored
        lost: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        lost_for = Unreachable("the connection was lost before the answer")
        stored.add_done_callback(lambda done: lost.set_exception(done.exception() or lost_for))
        return lost


async def test_an_end_whose_confirmation_was_lost_is_counted_all_the_same(bus: Bus, tmp_path: Path) -> None:
    write_pipeline(write_project(tmp_path / "shop"), "one", {"only": []})
    growth, deaf = Growth(), Deaf(bus._link, bus._exchange)  # noqa: SLF001 - no other way to lose an answer on time
    async with resolving(deaf, settings_for(tmp_path)), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await eventually(lambda: growth.of("runmesh_runs_total", project="shop", state="completed") == 1)


async def test_a_request_that_comes_again_is_counted_as_rejected_once(bus: Bus, tmp_path: Path) -> None:
    write_project(tmp_path / "shop")
    growth = Growth()
    async with resolving(bus, settings_for(tmp_path)):
        for _ in range(3):
            await ask(bus, "run", {"pipeline": "two", "id": "r1"})
        await eventually(lambda: emptied(bus))
    assert growth.of("runmesh_rejections_total", code="not_found") == 1


async def emptied(bus: Bus) -> bool:
    return (await bus.stream_info(subjects.REQUESTS)).messages == 0


async def test_what_is_refused_at_the_door_is_counted_too(bus: Bus, tmp_path: Path) -> None:
    write_project(tmp_path / "shop")
    growth = Growth()
    async with resolving(bus, settings_for(tmp_path)) as resolver:
        _, submit = resolver.endpoints()["submit"]
        with pytest.raises(Invalid):
            await submit(Message(subjects.api("submit", "shop"), b'{"pipeline": "two"}', {}))
    assert growth.of("runmesh_rejections_total", code="not_found") == 1

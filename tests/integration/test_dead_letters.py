"""What nobody can handle: kept once and whole, in nobody's way, and handled after all when its cause is gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import model_validator

from runmesh import cloudevents, subjects
from runmesh.bus import Bus, Message
from runmesh.dead import bury
from runmesh.events import Cause, RunRequest
from runmesh.resolver.intake import Intake
from runmesh.resolver.lanes import Lanes
from runmesh.resolver.plan import Plan
from runmesh.resolver.planner import Planner
from runmesh.resolver.presence import Presence
from runmesh.resolver.timers import Timers
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Config, Platform, ScriptedExecutor
from tests.facts import publish, whole_run
from tests.integration.test_cli_runs import Command, runmesh
from tests.integration.worker_mesh import RUN, TYPE, Mesh, mesh_on
from tests.shop import (
    answering,
    ask,
    commands,
    dead_letters,
    report,
    resolving,
    settings_for,
    states,
    write_pipeline,
    write_project,
)

__all__ = ["runmesh"]

REQUEST = {"pipeline": "one", "id": "r1"}
UNKNOWN = "dev.runmesh.{}.v9"


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    write_pipeline(write_project(tmp_path / "shop"), "one", {"only": []})
    return tmp_path


@pytest.fixture
async def workers(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def ends(bus: Bus, run: str, state: str) -> None:
    async def ended() -> bool:
        return state in await states(bus, run)

    await eventually(ended)


async def queued(bus: Bus) -> int:
    return (await bus.stream_info(subjects.REQUESTS)).messages


# --- what lands there --------------------------------------------------------------------------------

FACT = "mesh.task.completed.k8s.default.shop.r1.load"


@pytest.mark.parametrize(
    ("subject", "body", "ce_type", "reason"),
    [
        ("mesh.request.run.shop", "no json", None, "undecodable"),
        ("mesh.request.run.shop", '{"pipeline":"one"}', UNKNOWN.format("run.request"), "undecodable"),
        ("mesh.request.cancel.shop", '{"runs":"r1"}', None, "invalid"),
        ("mesh.request.retry.shop", '{"run":5}', None, "invalid"),
        (FACT, "no json", None, "undecodable"),
        (FACT, "{}", UNKNOWN.format("task.completed"), "undecodable"),
        (FACT, '{"run":"r1"}', None, "undecodable"),
    ],
)
async def test_what_cannot_be_read_is_kept_whole_and_once(
    bus: Bus, projects: Path, subject: str, body: str, ce_type: str | None, reason: str
) -> None:
    headers = {"traceparent": "00-1"} | ({"ce-type": ce_type} if ce_type else {})
    await bus.publish(subject, body.encode(), headers=headers)
    async with resolving(bus, settings_for(projects)), answering(bus):
        await ask(bus, "run", REQUEST)
        await ends(bus, "r1", "completed")
        (letter,) = await eventually(lambda: dead_letters(bus))
    assert (letter["subject"], letter["reason"], letter["body"]) == (subject, reason, body)
    assert letter["headers"].items() >= headers.items()
    assert letter["deliveries"] == 1
    assert letter["error"]


async def test_a_message_is_kept_once_however_often_it_is_buried(bus: Bus) -> None:
    await bus.publish("mesh.request.run.shop", b"no json")
    for _ in range(2):
        async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
            message = await anext(pump)
            await bury(bus, message, service="resolver", reason="undecodable", error="not JSON")
            await message.nak()
    assert [letter["deliveries"] for letter in await dead_letters(bus)] == [1]


async def test_letters_are_told_apart_for_a_day(bus: Bus) -> None:
    config = (await bus.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    assert config["duplicate_window"] == 86_400 * 10**9


class Faulty(ScriptedExecutor):
    """Breaks the worker itself, at the moment when a task has its job."""

    broken = False

    @property
    def adoptable(self) -> bool:  # type: ignore[override]
        """Whether jobs outlive their worker, where that is known."""
        if self.broken:
            raise ZeroDivisionError
        return True


async def test_a_command_that_breaks_its_worker_is_kept_and_tried_on_since_it_may_run(workers: Mesh) -> None:
    platform = Platform()
    process = await workers.start(platform, Faulty)
    assert isinstance(process.executor, Faulty)
    process.executor.broken = True
    event = await workers.order("load")
    (letter,) = await eventually(workers.dead)
    assert (letter["reason"], letter["error"], letter["deliveries"]) == ("poison", "ZeroDivisionError()", 5)
    assert await workers.states(event) == ["submitted"]
    process.executor.broken = False
    assert (await workers.ended(event)).state == "completed"
    assert platform.started[event.key] == 1
    assert len(await workers.dead()) == 1


class ThirdParty(Config):
    """Somebody else's configuration, with a fault in it."""

    @model_validator(mode="after")
    def _check(self) -> "ThirdParty":
        if self.image == "poison":
            raise ZeroDivisionError("size by zero")
        return self


async def test_a_configuration_that_breaks_its_model_fails_its_task_and_is_kept(workers: Mesh) -> None:
    platform = Platform()
    await workers.start(platform, config_model=ThirdParty, slots=1)
    poison = await workers.order("load", config={"image": "poison"})
    good = await workers.order("report")

    assert (await workers.ended(good)).state == "completed"
    fact = await workers.ended(poison)
    ends = [message.subject async for message in workers.bus.replay(subjects.FACTS, *subjects.TERMINAL_TASK_FACTS)]
    assert [end.rpartition(".")[2] for end in ends] == ["report", "load"], "it held the only slot while the others ran"

    assert (fact.state, fact.cause) == ("failed", Cause.CONFIG)
    assert fact.reason == "config: breaks the executor's Config: ZeroDivisionError('size by zero')"
    await workers.settled()
    (letter,) = await workers.dead()
    assert (letter["reason"], letter["deliveries"]) == ("poison", 5)
    assert json.loads(letter["body"])["key"] == poison.key
    assert letter["headers"]["ce-type"] == "dev.runmesh.task.execute.v1"
    assert list(platform.started) == [good.key]


# --- and comes back ----------------------------------------------------------------------------------


@dataclass
class Health:
    """Whether a resolver is well."""

    ill: bool = True
    seen: list[str] = field(default_factory=list)


class Ailing(Planner):
    """Fails by a fault of its own while it is ill."""

    def __init__(self, bus: Bus, projects: Path, health: Health) -> None:
        super().__init__(bus, settings_for(projects), {})
        self._health = health

    async def plan(self, project: str, request: RunRequest, run: str, **about: Any) -> Plan:
        """Plan, or fail."""
        self._health.seen.append(run)
        if self._health.ill and run == "r1":
            raise ZeroDivisionError
        return await super().plan(project, request, run, **about)


@asynccontextmanager
async def taking(bus: Bus, planner: Planner) -> AsyncIterator[None]:
    """Take requests with a planner, as the resolver does."""
    presence = Presence(bus)
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(bus, tasks=tasks, timers=Timers(), surroundings=lambda: presence.event)
        intake = Intake(bus, planner, lanes, presence)

        async def take() -> None:
            async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=256) as pump:
                async for message in pump:
                    tasks.create_task(intake.take(message))

        task = tasks.create_task(take())
        yield
        task.cancel()


async def test_a_poisoned_request_runs_once_its_cause_is_gone(bus: Bus, projects: Path, runmesh: Command) -> None:
    health = Health()
    async with taking(bus, Ailing(bus, projects, health)):
        await ask(bus, "run", REQUEST)
        await ask(bus, "run", {"pipeline": "one", "id": "good"})
        await ends(bus, "good", "running")
        await ends(bus, "r1", "rejected")
        (letter,) = await dead_letters(bus)
        assert (letter["reason"], letter["deliveries"], health.seen.count("r1")) == ("poison", 3, 3)
        health.ill = False
        done = await runmesh("dead", "replay", "1")
        assert done.code == 0
        assert "mesh.request.run.shop as r1-replay-1" in done.err
        await ends(bus, "r1-replay-1", "running")
        assert await states(bus, "r1") == ["rejected"]
        await eventually(lambda: nothing_left(bus))
    assert await dead_letters(bus) == []


async def nothing_left(bus: Bus) -> bool:
    return await queued(bus) == 0


async def test_a_request_of_a_version_to_come_runs_after_the_upgrade(
    bus: Bus, projects: Path, runmesh: Command
) -> None:
    request = RunRequest.model_validate({**REQUEST})
    await bus.publish(
        "mesh.request.run.shop",
        request.to_json(),
        headers=cloudevents.headers_for(request, event_id="r1", source="/x"),
        message_id="r1",
    )
    await before_the_upgrade(bus)
    async with resolving(bus, settings_for(projects)), answering(bus):
        assert (await runmesh("dead", "replay", "1")).code == 0
        await ends(bus, "r1", "completed")


async def before_the_upgrade(bus: Bus) -> None:
    """Do as a resolver to which this version of requests is unknown."""
    async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=1) as pump:
        message: Message = await anext(pump)
        error = f"{message.headers['ce-type']!r} is not known here"
        await bury(bus, message, service="resolver", reason="undecodable", error=error)
        await message.ack(confirmed=True)


async def test_a_fact_of_a_version_to_come_is_heard_after_the_upgrade(
    bus: Bus, projects: Path, runmesh: Command
) -> None:
    async with resolving(bus, settings_for(projects)):
        await ask(bus, "run", REQUEST)
        (command,) = await eventually(lambda: commands(bus))
    await report(bus, command)
    async with bus.consume(subjects.FACTS, subjects.RESOLVER, slots=1) as pump:
        message = await anext(pump)
        await bury(bus, message, service="resolver", reason="undecodable", error="not known here")
        await message.ack(confirmed=True)
    async with resolving(bus, settings_for(projects)):
        assert (await runmesh("dead", "replay", "1")).code == 0
        await ends(bus, "r1", "completed")


async def test_what_belongs_to_an_ended_run_is_not_replayed_but_retried(
    bus: Bus, workers: Mesh, runmesh: Command
) -> None:
    await workers.start(Platform())
    await workers.publish_raw("load", b"no json")
    await workers.ended(workers.command("load"))
    await workers.settled()
    await publish(bus, *whole_run("failed", run=RUN))
    done = await runmesh("dead", "replay", "1")
    assert done.code == 2
    assert done.err == f"runmesh: 1: run '{RUN}' has ended (`runmesh retry {RUN}`, then drop the letter)\n"
    assert len(await dead_letters(bus)) == 1
    assert (await bus.stream_info(subjects.execute_stream(TYPE))).messages == 0


async def test_what_is_only_a_part_is_never_published(bus: Bus, runmesh: Command) -> None:
    letter: dict[str, Any] = {
        "subject": "mesh.request.run.shop",
        "reason": "undecodable",
        "error": "x",
        "headers": {},
        "body": "",
        "encoding": "base64",
        "truncated": True,
        "deliveries": 1,
        "at": "2026-01-01T00:00:00Z",
    }
    await bus.publish("mesh.dead.resolver.undecodable", json.dumps(letter).encode())
    assert "only a part" in (await runmesh("dead", "replay", "1")).err
    assert await queued(bus) == 0

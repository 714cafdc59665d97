"""A small Mage project on disk, and a resolver that serves it, for tests."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from runmesh import filters, subjects
from runmesh.bus import Bus, Message
from runmesh.cloudevents import decode, headers_for
from runmesh.errors import BusError
from runmesh.events import Cause, ExecuteTask, RunFact, TaskFact, TaskState
from runmesh.resolver.service import Resolver
from runmesh.settings import Settings

PROJECT = "shop"
SOURCE = "@custom\ndef run(*args, **kwargs):\n    return 1\n"


def write_project(directory: Path, **document: Any) -> Path:
    """Make a project without pipelines."""
    (directory / "pipelines").mkdir(parents=True, exist_ok=True)
    (directory / "custom").mkdir(exist_ok=True)
    (directory / "metadata.yaml").write_text(yaml.safe_dump({"project_type": "standalone", **document}))
    return directory


def write_pipeline(
    project: Path, name: str, graph: Mapping[str, Sequence[str]], *, block: Mapping[str, Any] | None = None, **more: Any
) -> None:
    """Add a pipeline of custom blocks, given as block to upstream blocks; `block` is merged into every block."""
    blocks = [
        {"uuid": uuid, "name": uuid, "type": "custom", "language": "python", "upstream_blocks": list(above)}
        | dict(block or {})
        for uuid, above in graph.items()
    ]
    (project / "pipelines" / name).mkdir(parents=True, exist_ok=True)
    document = {"uuid": name, "name": name, "type": "python", "blocks": blocks, **more}
    (project / "pipelines" / name / "metadata.yaml").write_text(yaml.safe_dump(document))
    for uuid in graph:
        path = project / "custom" / f"{uuid}.py"
        if not path.exists():
            path.write_text(SOURCE)


def settings_for(projects_dir: Path, **changes: Any) -> Settings:
    """Return settings with the short times of tests."""
    defaults: dict[str, Any] = {"ack_wait": 3.0, "sweep_interval": 0.5, "allow_inline": True, "allow_overrides": True}
    return Settings(projects_dir=projects_dir, **(defaults | changes))


@asynccontextmanager
async def resolving(bus: Bus, settings: Settings) -> AsyncIterator[Resolver]:
    """Run a resolver for the length of the block, then drain it."""
    resolver = Resolver(bus, settings)
    task = asyncio.create_task(resolver.run())
    try:
        yield resolver
    finally:
        resolver.drain()
        async with asyncio.timeout(60):
            await task


@asynccontextmanager
async def killable(bus: Bus, settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Run a resolver that the test may cancel without any drain, as a kill would."""
    task = asyncio.create_task(Resolver(bus, settings).run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ask(
    bus: Bus, verb: str, body: Any, *, project: str = PROJECT, headers: Mapping[str, str] | None = None
) -> None:
    """Publish a request as any system would."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    await bus.publish(subjects.request(verb, project), data, headers=headers)


async def run_facts(bus: Bus, run: str) -> list[RunFact]:
    """Return what is stored of a run, oldest first."""
    subject, _ = filters.facts_of_run(run)
    return [RunFact.model_validate_json(message.data) async for message in bus.replay(subjects.FACTS, subject)]


async def task_facts(bus: Bus, run: str) -> list[TaskFact]:
    """Return what is stored of a run's tasks, oldest first."""
    _, subject = filters.facts_of_run(run)
    return [TaskFact.model_validate_json(message.data) async for message in bus.replay(subjects.FACTS, subject)]


async def states(bus: Bus, run: str) -> list[str]:
    """Return the states that a run went through."""
    return [str(fact.state) for fact in await run_facts(bus, run)]


async def commands(bus: Bus, executor_type: str = "local_python") -> list[ExecuteTask]:
    """Return the execute events that are queued or held: a work queue can be read only one by one."""
    stream = subjects.execute_stream(executor_type)
    info, found = await bus.stream_info(stream), list[ExecuteTask]()
    for sequence in range(info.first, info.last + 1):
        with suppress(BusError):
            stored = (await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
            found.append(ExecuteTask.model_validate_json(b64decode(stored["data"])))
    return found


async def dead_letters(bus: Bus) -> list[dict[str, Any]]:
    """Return the bodies of all dead letters."""
    return [json.loads(message.data) async for message in bus.replay(subjects.DEAD, "mesh.dead.>")]


async def report(
    bus: Bus, command: ExecuteTask, state: TaskState = TaskState.COMPLETED, cause: Cause | None = None, **more: Any
) -> None:
    """Publish a worker's terminal fact about a command."""
    fact = TaskFact(
        run=command.run,
        block=command.block,
        attempt=command.attempt,
        resubmission=command.resubmission,
        key=command.key,
        state=state,
        n=3,
        executor_type=command.executor_type,
        pool=command.pool,
        cause=cause,
        **{"at": datetime.now(UTC), **more},
    )
    subject = subjects.task_fact(state, fact.executor_type, fact.pool, command.project, fact.run, fact.block)
    headers = headers_for(fact, event_id=fact.ce_id, source="/test")
    await bus.publish(subject, fact.to_json(), headers=headers, message_id=fact.ce_id)


@asynccontextmanager
async def answering(
    bus: Bus,
    executor_type: str = "local_python",
    outcomes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **ends: TaskState,
) -> AsyncIterator[list[ExecuteTask]]:
    """Stand in for a worker: end every command at once, completed unless `ends` names the block."""
    taken, seen = list[ExecuteTask](), set[str]()

    async def work() -> None:
        stream, durable = subjects.execute_stream(executor_type), subjects.execute_consumer("default")
        async with bus.consume(stream, durable, slots=100) as pump, asyncio.TaskGroup() as group:
            async for message in pump:
                group.create_task(finish(message, take(message)))

    def take(message: Message) -> ExecuteTask:
        command = decode(ExecuteTask, message.headers, message.data)
        if command.key not in seen:  # as a claim does: what comes again, as somebody was slow, is the same task
            taken.append(command)
        seen.add(command.key)
        return command

    async def finish(message: Message, command: ExecuteTask) -> None:
        end = ends.get(command.block, TaskState.COMPLETED)
        left = {"outcome": dict(outcomes[command.block])} if command.block in outcomes else {}
        await report(bus, command, end, Cause.USER if end is TaskState.FAILED else None, **left)
        await message.ack()

    task = asyncio.create_task(work())
    try:
        yield taken
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

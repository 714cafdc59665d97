"""A block that prints more than anybody stores, and facts that hardly fit: the task goes on as if nothing were."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.events import Cause, LogLines, TaskState
from runmesh.executor import Handle, LogLine, Observation, Phase, Position
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script, ToldExecutor
from tests.integration.worker_mesh import Mesh, mesh_on

LINES = tuple(f"line {number:06}" for number in range(1, 20_001))


@pytest.fixture
async def mesh(bus: Bus, nats_address: Address) -> AsyncIterator[Mesh]:
    async with mesh_on(bus, nats_address) as made:
        yield made


async def stored(mesh: Mesh) -> list[LogLines]:
    messages = [message async for message in mesh.bus.replay(subjects.LOGS, "mesh.log.>")]
    return [LogLines.model_validate_json(message.data) for message in messages]


async def change(mesh: Mesh, stream: str, **settings: Any) -> None:
    config = (await mesh.bus.api(f"STREAM.INFO.{stream}"))["config"]
    await mesh.bus.api(f"STREAM.UPDATE.{stream}", {**config, **settings})


async def test_too_much_output_is_cut_with_a_mark_and_its_end_is_kept(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script(prints=LINES)), ToldExecutor, log_burst=19_000, log_rate=1)
    assert (await mesh.ended(await mesh.order("load"))).state is TaskState.COMPLETED
    batches = await stored(mesh)
    numbered = {batch.first + at: text for batch in batches for at, text in enumerate(batch.lines)}
    lines = [numbered[number] for number in sorted(numbered)]
    assert lines[:1000] == list(LINES[:1000])
    assert lines[-800:] == list(LINES[-800:])
    (mark,) = [text for text in lines if "left out" in text]
    missing = len(LINES) - (len(lines) - 1)
    assert f"at least {missing:,} lines" in mark
    assert LINES[max(numbered) - 1] == LINES[-1], "lines keep the numbers that the job gave them"


class Slow(ToldExecutor):
    """Prints more slowly than its jobs end, which others wait for."""

    adoptable: ClassVar[bool] = False

    async def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:  # noqa: ARG002 - the contract's
        """Yield a line now, and another one when nobody waits any more."""
        yield LogLine("stdout", 1, "first", Position((6, 1)))
        await asyncio.sleep(3600)
        yield LogLine("stdout", 2, "second", Position((13, 2)))


async def test_output_that_nobody_can_read_in_time_is_cut_with_a_mark(mesh: Mesh) -> None:
    await mesh.start(Platform(load=Script()), Slow)
    await mesh.ended(await mesh.order("load"))
    assert await eventually(lambda: all_lines(mesh)) == ["first", "… the rest left out: the task has ended"]


async def all_lines(mesh: Mesh) -> list[str]:
    lines = [line for batch in await stored(mesh) for line in batch.lines]
    return lines if len(lines) > 1 else []


async def test_logs_that_nobody_stores_stop_no_task(mesh: Mesh) -> None:
    await change(mesh, subjects.LOGS, discard="new", max_bytes=1)
    await mesh.start(Platform(load=Script(prints=LINES)), ToldExecutor)
    assert (await mesh.ended(await mesh.order("load"))).state is TaskState.COMPLETED
    await mesh.bus.api(f"STREAM.DELETE.{subjects.LOGS}")
    assert (await mesh.ended(await mesh.order("load", run="run-2"))).state is TaskState.COMPLETED


async def test_the_oldest_logs_make_room_for_new_ones(mesh: Mesh) -> None:
    await change(mesh, subjects.LOGS, max_bytes=100_000, compression="none")
    noise = tuple(os.urandom(500).hex() for _ in range(1000))
    await mesh.start(Platform(load=Script(prints=noise)), ToldExecutor)
    assert (await mesh.ended(await mesh.order("load"))).state is TaskState.COMPLETED
    batches = await stored(mesh)
    assert batches[-1].lines[-1] == noise[-1]
    assert batches[0].first > 1


@pytest.mark.parametrize("fits", [True, False])
async def test_a_fact_as_large_as_a_message_is_told_without_what_does_not_fit(
    mesh: Mesh, tmp_path: Path, *, fits: bool
) -> None:
    outcome = {"exit_code": 3, "outputs": ["x" * 999_000]}
    (tmp_path / "left.json").write_text(json.dumps(outcome))
    platform = Platform(load=Script(runs=None))
    await mesh.start(platform)
    event = await mesh.order("load", environment={"RUNMESH_OUTCOME": str(tmp_path / "left.json")})
    await mesh.submitted(event)
    tail = ("\x01" * (50 if fits else 2000),) * 20
    platform.job("load").end(Observation(Phase.FAILED, 3, Cause.USER, "exit code 3", log_tail=tail))
    fact = await mesh.ended(event)
    assert (fact.state, fact.reason, fact.outcome) == (TaskState.FAILED, "exit code 3", outcome)
    assert fact.log_tail == (tail if fits else None)
    await mesh.settled()

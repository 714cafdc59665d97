"""Facts made by hand, for tests of whoever reads them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import from_json

from runmesh import cloudevents, subjects
from runmesh.bus import Bus
from runmesh.events import BlockStatus, LogLines, RunFact, RunState, TaskFact, TaskState

RUN = "01JB0000000000000000000000"
PROJECT = "shop"
PIPELINE = "orders"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment, in seconds after the run's start."""
    return START + timedelta(seconds=seconds)


def run_fact(state: str, seconds: float = 0, *, run: str = RUN, **fields: Any) -> RunFact:
    return RunFact(run=run, project=PROJECT, pipeline=PIPELINE, state=RunState(state), at=at(seconds), **fields)


def task_fact(block: str, state: str, seconds: float = 0, *, n: int = 1, attempt: int = 1, **fields: Any) -> TaskFact:
    fields = {"run": RUN, "executor_type": "local_python", "pool": "default", "resubmission": 0, **fields}
    key = subjects.task_key(fields["run"], block, attempt, fields["resubmission"])
    return TaskFact(block=block, state=TaskState(state), n=n, attempt=attempt, key=key, at=at(seconds), **fields)


def graph(upstream: Mapping[str, tuple[str, ...]], executor_type: str = "local_python") -> dict[str, BlockStatus]:
    """The blocks of an `accepted` fact."""
    return {
        name: BlockStatus(state="pending", executor_type=executor_type, upstream=above)
        for name, above in upstream.items()
    }


def statuses(**states: str) -> dict[str, BlockStatus]:
    """The blocks of a later run fact."""
    return {name: BlockStatus.model_validate({"state": state, "attempts": 1}) for name, state in states.items()}


def whole_run(end: str = "completed", run: str = RUN) -> list[RunFact | TaskFact]:
    """A run of two blocks, `load` and then `report`, from acceptance to its end."""
    last: dict[str, Any] = {
        "cause": "user",
        "reason": "exit code 1",
        "exit_code": 1,
        "log_tail": ("Traceback", "KeyError: 'age'"),
    }
    return [
        run_fact("accepted", run=run, blocks=graph({"load": (), "report": ("load",)})),
        task_fact("load", "queued", 0.1, n=0, run=run),
        run_fact("running", 0.1, run=run),
        task_fact("load", "running", 0.2, n=2, run=run),
        task_fact("load", "completed", 1.5, n=3, run=run, exit_code=0),
        task_fact("report", "queued", 1.5, n=0, run=run),
        task_fact("report", "running", 1.6, n=2, run=run),
        task_fact("report", end, 2.0, n=3, run=run, **(last if end == "failed" else {})),
        run_fact(end, 2.0, run=run, blocks=statuses(load="completed", report=end)),
    ]


async def publish(bus: Bus, *facts: RunFact | TaskFact) -> None:
    """Publish facts as their publishers would."""
    for fact in facts:
        if isinstance(fact, RunFact):
            subject = subjects.run_fact(fact.state, fact.project, fact.pipeline, fact.run)
        else:
            subject = subjects.task_fact(fact.state, fact.executor_type, fact.pool, PROJECT, fact.run, fact.block)
        headers = cloudevents.headers_for(fact, event_id=fact.ce_id, source="/test")
        await bus.publish(subject, fact.to_json(), headers=headers, message_id=fact.ce_id)


async def write(bus: Bus, block: str, *lines: str, run: str = RUN, first: int = 1, stream: str = "stdout") -> None:
    """Publish log lines as a worker would."""
    batch = LogLines.model_validate(
        {"run": run, "block": block, "attempt": 1, "stream": stream, "first": first, "lines": lines, "at": at(1)}
    )
    headers = cloudevents.headers_for(batch, event_id=f"{run}.{block}.{stream}.{first}", source="/test")
    await bus.publish(subjects.log("local_python", "default", PROJECT, run, block), batch.to_json(), headers=headers)


async def requests(bus: Bus) -> list[tuple[str, Any]]:
    """Take every stored request, as subject and body."""
    count = (await bus.stream_info(subjects.REQUESTS)).messages
    taken = []
    async with bus.consume(subjects.REQUESTS, subjects.RESOLVER, slots=100) as pump:
        for _ in range(count):
            message = await anext(pump)
            await message.ack()
            taken.append((message.subject, from_json(message.data)))
    return taken

"""`runmesh workers`: who is there to run tasks."""

from typing import Any

import typer
from rich.text import Text

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.claims import Beat
from runmesh.cli import output
from runmesh.cli.context import Json, mesh
from runmesh.cli.exits import run as run_command
from runmesh.errors import NotProvisioned
from runmesh.workers import WorkerView

app = typer.Typer()


@app.command("workers")
def workers(*, json: Json = False) -> None:
    """List the workers that are alive, and what waits for them. A worker that died vanishes within its lease."""

    async def work() -> None:
        async with mesh() as connected:
            found = await connected.workers()
            waiting = {
                pool: await _waiting(connected.bus, *pool) for pool in {(w.executor_type, w.pool) for w in found}
            }
        if json:
            for worker in found:
                output.emit({**_flat(worker), "waiting": waiting[worker.executor_type, worker.pool]})
        elif found:
            _print(found, waiting)
        else:
            output.say("no worker is alive: `runmesh executor local_python` starts one")

    run_command(work())


async def _waiting(bus: Bus, executor_type: str, pool: str) -> int | None:
    """Return how many tasks of a pool nobody has taken yet."""
    try:
        info = await bus.consumer_info(subjects.execute_stream(executor_type), subjects.execute_consumer(pool))
    except NotProvisioned:
        return None
    return info.pending


def _print(found: list[WorkerView], waiting: dict[tuple[str, str], int | None]) -> None:
    table = output.table("type", "pool", "worker", "host", "state", "held", "slots", "waiting", "alive for")
    for worker in found:
        queued = waiting[worker.executor_type, worker.pool]
        host, state, held, slots, age = _said(worker.beat) if worker.beat else ("",) * 5
        table.add_row(worker.executor_type, worker.pool, worker.worker, host, state, held, slots, _number(queued), age)
    output.out().print(table)


def _said(beat: Beat) -> tuple[str | Text, ...]:
    """Return the cells that only a worker itself can fill."""
    state = Text(beat.state, "green" if beat.state == "working" else "yellow")
    age = Text(output.duration((output.now() - beat.since).total_seconds()), "dim")
    return beat.host, state, str(beat.held), str(beat.slots), age


def _flat(worker: WorkerView) -> dict[str, Any]:
    said = worker.beat.model_dump() if worker.beat else dict.fromkeys(Beat.model_fields)
    return {**worker.model_dump(exclude={"beat"}), **said}


def _number(value: int | None) -> str:
    return "" if value is None else str(value)

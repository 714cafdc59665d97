"""`runmesh runs` and `runmesh show`."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, Run, mesh
from runmesh.cli.exits import run as run_command
from runmesh.cli.tree import render
from runmesh.errors import Invalid, Problem, nearest
from runmesh.events import RunState
from runmesh.view import RunView

app = typer.Typer()

_STATE_WIDTH: Final = 12
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@app.command("runs")
def runs(
    *,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    since: Annotated[str, typer.Option(help="How far to look back: 90s, 30m, 24h, 7d.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    json: Json = False,
) -> None:
    """List the runs that something happened to lately, newest first."""
    span = _span(since)
    if state is not None and state not in tuple(RunState):
        raise Invalid(Problem("--state", f"{state!r} is no state of a run", nearest(state, RunState)))

    async def work() -> None:
        async with mesh() as connected:
            found = await connected.runs(project, output.now() - span)
        shown = [view for view in found if state in (None, view.state)][:limit]
        if json:
            for view in shown:
                output.emit(summary(view))
        elif shown:
            _print(shown)
        else:
            output.say(f"no runs within {since}")

    run_command(work())


@app.command("show")
def show(run: Run, *, json: Json = False) -> None:
    """Show one run: its blocks with state, executor, attempt, duration, and what went wrong."""

    async def work() -> None:
        async with mesh() as connected:
            view = await connected.show(run)
        if json:
            output.emit({**summary(view), "errors": view.errors or None, "blocks": list(view.blocks.values())})
        else:
            output.out().print(render(view, output.now()))

    run_command(work())


def summary(view: RunView) -> dict[str, Any]:
    """Return what `--json` says of a run in a list."""
    return {
        "run": view.run,
        "project": view.project,
        "pipeline": view.pipeline,
        "state": view.state,
        "reason": view.reason,
        "retry_of": view.retry_of,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "counts": dict(view.counts) or None,
    }


def _print(views: list[RunView]) -> None:
    table = output.table("run", "state", "project", "pipeline", "took", "began")
    table.columns[1].min_width = _STATE_WIDTH
    now = output.now()
    for view in views:
        table.add_row(
            view.run,
            output.state_text(str(view.state)),
            view.project,
            view.pipeline,
            output.duration(view.duration(now)),
            Text(output.ago(view.started_at or view.ended_at), "dim"),
        )
    output.out().print(table)


def _span(text: str) -> timedelta:
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    raise Invalid(Problem("--since", f"{text!r} is no length of time", "such as 90s, 30m, 24h or 7d"))

"""`runmesh watch` and `runmesh logs`."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, Run, mesh
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import follow
from runmesh.client import Mesh
from runmesh.errors import Invalid, Problem, nearest
from runmesh.events import LogLines
from runmesh.view import RunView

app = typer.Typer()


@app.command("watch")
def watch(run: Run, *, json: Json = False) -> None:
    """Follow a run until it has ended: live, or from what is stored if it began long ago or is over.

    Exits 0 if the run completed, 1 if it failed or was cancelled, 3 if it was rejected.
    """

    async def work() -> int:
        async with mesh() as connected:
            return await follow(connected, run, as_json=json)

    run_command(work())


@app.command("logs")
def logs(
    run: Run,
    block: Annotated[str | None, typer.Argument(help="Only this block.", show_default=False)] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    json: Json = False,
) -> None:
    """Print what a run's blocks wrote. What went to stderr is shown in red on a terminal."""

    async def work() -> None:
        async with mesh() as connected:
            if not follow:
                await _check_block(connected, run, block)
            async for batch in connected.logs(run, block, follow=follow):
                if json:
                    output.emit(batch)
                else:
                    _print(batch, named=block is None)

    run_command(work())


async def _check_block(connected: Mesh, run: str, block: str | None) -> None:
    view: RunView = await connected.show(run)
    if block is not None and view.blocks and block not in view.blocks:
        raise Invalid(Problem("block", f"run {run} has no block {block!r}", nearest(block, view.blocks)))


def _print(batch: LogLines, *, named: bool) -> None:
    prefix = f"{batch.block} │ " if named else ""
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{prefix}{line}\n" for line in batch.lines)
        sys.stdout.flush()
        return
    style = "red" if batch.stream == "stderr" else ""
    console = output.out()
    for line in batch.lines:
        console.print(Text.assemble((prefix, "bright_black"), (line, style)))

"""`runmesh watch` and `runmesh logs`."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, Run, mesh
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import follow
from runmesh.cli.lines import label
from runmesh.client import Mesh
from runmesh.errors import Invalid, Problem, nearest
from runmesh.events import LogLines
from runmesh.folding import apart
from runmesh.subjects import block_of

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
    block: Annotated[str | None, typer.Argument(help="Only this block, or child.", show_default=False)] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    json: Json = False,
) -> None:
    """Print what a run's blocks wrote. What went to stderr is shown in red on a terminal.

    The lines of a block with children are those of all its children; `block:3` or `block:name` is one of them.
    """

    async def work() -> None:
        async with mesh() as connected:
            whole = follow or await _has_children(connected, run, block)
            async for batch in connected.logs(run, None if whole else block, follow=follow):
                if not _meant(batch, block):
                    continue
                if json:
                    output.emit(batch)
                else:
                    _print(batch, named=batch.block != block)

    run_command(work())


async def _has_children(connected: Mesh, run: str, block: str | None) -> bool:
    """Say whether what a block wrote is what its children wrote. Raises `Invalid` if the run has no such block."""
    if block is None:
        return False
    parent = block_of(apart(block)[1])
    blocks = (await connected.show(run, {block, parent})).blocks
    found = blocks.get(block) or blocks.get(parent)
    if found is None and blocks:
        raise Invalid(Problem("block", f"run {run} has no block {block!r}", nearest(block, blocks)))
    return found is not None and found.name == block and found.children is not None


def _meant(batch: LogLines, block: str | None) -> bool:
    """Say whether a block, or a child of it, wrote these lines."""
    return block is None or batch.block == block or batch.block.startswith(f"{block}:")


def _print(batch: LogLines, *, named: bool) -> None:
    prefix = f"{label(batch.block)} │ " if named else ""
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{prefix}{line}\n" for line in batch.lines)
        sys.stdout.flush()
        return
    style = "red" if batch.stream == "stderr" else ""
    console = output.out()
    for line in batch.lines:
        console.print(Text.assemble((prefix, "bright_black"), (line, style)))

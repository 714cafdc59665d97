"""`runmesh cancel` and `runmesh retry`."""

from collections.abc import Iterable
from typing import Annotated

import typer

from runmesh.cli import output
from runmesh.cli.context import Blocks, Json, Run, mesh
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import first_answer, follow_own
from runmesh.errors import Invalid, Problem, nearest
from runmesh.folding import apart
from runmesh.subjects import block_of
from runmesh.view import RunView

app = typer.Typer()


@app.command("cancel")
def cancel(
    run: Run,
    blocks: Blocks = None,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; the run's facts will say it.", show_default=False)] = None,
) -> None:
    """Ask for a run, or some of its blocks, to be stopped. `runmesh watch` shows when that is done."""

    async def work() -> Exit:
        async with mesh() as connected:
            view = await connected.show(run, ())
            if view.ended:
                output.say(f"nothing to cancel: run {run} has ended already, {view.state}")
                return Exit.OK
            _check(view, blocks or ())
            await connected.cancel(run, blocks, reason)
            output.say(f"asked; `runmesh watch {run}` shows when everything has stopped")
            return Exit.OK

    run_command(work())


def _check(view: RunView, names: Iterable[str]) -> None:
    """Raise `Invalid` for what is no block of a run, nor a child of one: no fact would ever say so."""
    unknown = [name for name in names if not {name, block_of(apart(name)[1])} & view.blocks.keys()]
    if unknown and view.blocks:  # none are told of a run that has too many
        hints = {name: nearest(name, view.blocks) for name in unknown}
        raise Invalid(
            *(Problem("block", f"run {view.run} has no block {name!r}", hint) for name, hint in hints.items())
        )


@app.command("retry")
def retry(
    run: Run,
    blocks: Blocks = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the new run until it has ended.")] = False,
    json: Json = False,
) -> None:
    """Run again what did not complete in a finished run, as a new run, and print the new run's id.

    Exits as `runmesh submit` does: 3 if it was rejected.
    """

    async def work() -> Exit:
        async with mesh() as connected:
            new = await connected.retry(run, blocks)
            if watch:
                return await follow_own(connected, new, as_json=json)
            if json:
                output.emit({"run": new, "retry_of": run})
            else:
                output.out().print(new)
            return await first_answer(connected, new)

    run_command(work())

"""Following a run: as a tree that moves on a terminal, as one line per change elsewhere, as JSON for programs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from rich.live import Live
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.exits import Exit
from runmesh.cli.lines import Lines
from runmesh.cli.tree import render
from runmesh.client import Mesh
from runmesh.events import RunFact, RunState, TaskState
from runmesh.folding import Folding, fold
from runmesh.view import Fact, RunView

_REFRESH: Final = 0.125
_PATIENCE: Final = 3.0
_TAKEN_WITHIN: Final = 5.0
_ANSWER_WITHIN: Final = 1.0
_CODES: Final = {RunState.COMPLETED: Exit.OK, RunState.REJECTED: Exit.REJECTED}


async def follow(mesh: Mesh, run: str, *, as_json: bool = False) -> Exit:
    """Show a run until it has ended, and return the exit code that its end deserves."""
    if as_json:
        return ended_with(await _as_json(mesh, run))
    view = await shown(mesh, run)
    _next_steps(view)
    return ended_with(view)


async def shown(mesh: Mesh, run: str) -> RunView:
    """Show a run to a person until it has ended, and return what became of it."""
    return await (_as_tree(mesh, run) if sys.stdout.isatty() else _as_lines(mesh, run))


async def follow_own(mesh: Mesh, run: str, *, as_json: bool, fresh: bool = True) -> Exit:
    """Follow a run that was just asked for. Raises `Invalid` if the resolver refuses to take the request.

    If the id is not a `fresh` one, the run on show may be an earlier one: only the resolver knows.
    """
    async with asyncio.TaskGroup() as group:
        taking = group.create_task(mesh.taken(run))
        code = await follow(mesh, run, as_json=as_json)
        if not fresh:
            await asyncio.wait({taking}, timeout=_TAKEN_WITHIN)
            if not taking.done():
                output.say(f"no resolver has taken this request yet: what was shown is an earlier run {run}")
                code = Exit.FAILED
        taking.cancel()
    return code


async def first_answer(connected: Mesh, run: str) -> Exit:
    """Wait a moment for the resolver's word: a request that it rejects should not look like a success."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_WITHIN):
            await connected.taken(run)
            async for fact in connected.watch(run):
                if isinstance(fact, RunFact):
                    return _answered(fact)
    output.say("the request is stored; no resolver has taken it yet")
    return Exit.OK


def _answered(fact: RunFact) -> Exit:
    if fact.state != RunState.REJECTED:
        return Exit.OK
    for problem in fact.errors or ():
        hint = f" ({problem.hint})" if problem.hint else ""
        output.err().print(f"runmesh: rejected: {problem.path}: {problem.message}{hint}", markup=False)
    return Exit.REJECTED


def ended_with(view: RunView) -> Exit:
    """Return the exit code for a run that has ended."""
    return _CODES.get(view.state, Exit.FAILED) if view.state else Exit.FAILED


async def _as_json(mesh: Mesh, run: str) -> RunView:
    last: list[Fact] = []
    async for fact in mesh.watch(run):
        last = [fact]
        output.emit({"type": fact.ce_type, **fact.model_dump(exclude_none=True)})
    return fold(run, last)


async def _as_tree(mesh: Mesh, run: str) -> RunView:
    folding = Folding(run)
    console = output.out()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        drawing = asyncio.create_task(_draw(live, folding))
        try:
            async for fact in mesh.watch(run):
                folding.add(fact)
        finally:
            drawing.cancel()
            await asyncio.wait({drawing})
    view = folding.view()
    console.print(render(view, output.now()))
    return view


async def _draw(live: Live, folding: Folding) -> None:
    """Redraw at a steady pace, however fast facts come; clocks move without them."""
    drawn, view = 0, folding.view()
    while True:
        if folding.taken != drawn:
            drawn, view = folding.taken, folding.view()
        live.update(render(view, output.now(), height=live.console.height), refresh=True)
        await asyncio.sleep(_REFRESH)


async def _as_lines(mesh: Mesh, run: str) -> RunView:
    folding = Folding(run)
    lines = Lines(folding)
    async with _impatient(folding):
        async for fact in mesh.watch(run):
            folding.add(fact)
            sys.stdout.writelines(f"{line}\n" for line in lines.of(fact))
            sys.stdout.flush()
    view = folding.view()
    for problem in view.errors:
        output.out().print(
            Text(f"  {problem.path}: {problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
        )
    return view


@asynccontextmanager
async def _impatient(folding: Folding) -> AsyncIterator[None]:
    """Say why nothing happens, when nothing happens."""

    async def remark() -> None:
        await asyncio.sleep(_PATIENCE)
        if not folding.taken:
            output.say("waiting: no resolver has taken the request yet (`runmesh doctor` looks for the reason)")

    remarking = asyncio.create_task(remark())
    try:
        yield
    finally:
        remarking.cancel()
        await asyncio.wait({remarking})


def _next_steps(view: RunView) -> None:
    failed = next((block for block in view.blocks.values() if block.state == TaskState.FAILED), None)
    if failed:
        name = next((child.name for child in failed.children.failed), failed.name) if failed.children else failed.name
        output.say(f"\nrunmesh logs {view.run} {name}   what it wrote")
    if view.state in (RunState.FAILED, RunState.CANCELLED):
        output.say(f"runmesh retry {view.run} --watch   run again what did not complete")

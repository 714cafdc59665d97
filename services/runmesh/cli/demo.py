"""`runmesh demo`: the example project goes through a mesh of its own, and what came out is shown.

The mesh is that of `runmesh up`, in a directory that vanishes with it: a demo meets nothing of another one.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.children import Stopping
from runmesh.cli.context import METADATA
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import ended_with, shown
from runmesh.cli.tree import render
from runmesh.cli.up import services, settings_for
from runmesh.client import Mesh
from runmesh.embedded import embedded
from runmesh.errors import Invalid, Problem
from runmesh.projects import load_pipeline, load_project, variables_of
from runmesh.runtime.outputs import Outputs
from runmesh.settings import Settings, environment
from runmesh.view import RunView

app = typer.Typer()

PIPELINE: Final = "penguins"
_FOLDER: Final = Path("deploy", "demo")
_REPOSITORY: Final = Path(__file__).parents[3]
_AT_MOST: Final = 300.0
"""Seconds after which a run that hangs is stopped."""


@app.command("demo")
def demo(
    *,
    executor_type: Annotated[
        str | None, typer.Option(help="Run every block there: it must see this folder.", show_default="chosen")
    ] = None,
) -> None:
    """Watch an example project run, on a mesh of its own that ends with it.

    Nine blocks, one of which fails once and is tried again. Exits 0 only if the run completed.
    """
    project = _project()

    async def work() -> Exit:
        more = f", and one for {executor_type}" if executor_type else ""
        output.say(f"starting NATS, a resolver and a local executor{more}")
        with _passing(settings_for(project.parent)) as here:
            async with (
                embedded(here.state_dir / "nats") as server,
                services(here, server, also=executor_type) as (mesh, stopping),
            ):
                view = await _unless_stopped(_run(mesh, project.name, executor_type), stopping)
        if view is None:
            output.say("stopped; nothing is left running")
            return Exit.INTERRUPTED
        if (code := ended_with(view)) is Exit.OK:
            output.out().print(Group(*_result(project, view.run), output.steps(_steps(project))))
        return code

    run_command(work())


def _project() -> Path:
    for root in (Path.cwd(), _REPOSITORY):
        if (root / _FOLDER / METADATA).is_file():
            return root / _FOLDER
    hint = "clone the repository, and type `make demo` there; `runmesh up PROJECT_DIR` runs a project of yours"
    raise Invalid(Problem("demo", f"there is no {_FOLDER} here: an installed package doesn't bring it", hint))


@contextmanager
def _passing(here: Settings) -> Iterator[Settings]:
    """Give the mesh a directory that goes when it ends."""
    here.state_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="demo-", dir=here.state_dir, ignore_cleanup_errors=True) as directory:
        yield here.model_copy(update={"state_dir": Path(directory)})


async def _run(mesh: Mesh, project: str, executor_type: str | None) -> RunView:
    asked: dict[str, Any] = {"timeout": _AT_MOST, "labels": {"demo": "yes"}, "executor_type": executor_type}
    run = await mesh.submit(PIPELINE, project=project, **asked)
    view = await shown(mesh, run)
    if not sys.stdout.isatty():  # where the tree did not move, it comes at the end
        output.out().print(Text(), render(view, output.now()))
    return view


async def _unless_stopped(work: Coroutine[Any, Any, RunView], stopping: Stopping) -> RunView | None:
    """Return what the work returns, or None when somebody asks for the end before."""
    working, asked = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, asked):
            task.cancel()
        await asyncio.wait({working, asked})


# --- what came out -----------------------------------------------------------------------------------


def _result(project_dir: Path, run: str) -> Iterator[RenderableType]:
    """Read the outputs of two blocks, as a block below them would."""
    project = load_project(project_dir, environment())
    pipeline = load_pipeline(project, PIPELINE)
    outputs = Outputs(variables_of(project, pipeline, environment()), pipeline.uuid, run)
    report = Path(outputs.read(pipeline.blocks["report"]))
    link = Text(_short(report), f"bold link {report.as_uri()}")
    yield Text()
    yield _head(outputs.read(pipeline.blocks["summary"]))
    yield Text.assemble("\n  ", link, ("   open it in a browser", "dim"), "\n")


def _head(frame: Any) -> Table:
    """Return the first rows of a DataFrame."""
    table = Table(box=None, header_style="dim", pad_edge=True, padding=(0, 0, 0, 2))
    for name in frame.columns:
        table.add_column(name, justify="left" if name == "species" else "right", no_wrap=True)
    for row in frame.head().itertuples(index=False):
        table.add_row(*map(_cell, row))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.2f}"
    return str(value)


def _steps(project: Path) -> list[tuple[str, str]]:
    program, directory = _program(), _short(project)
    return [
        (f"{program} explain {directory} {PIPELINE}", "why it runs where it does"),
        (f"{program} up {directory}", "a mesh that stays"),
        (f"{program} submit {PIPELINE} --watch", "from a second terminal"),
    ]


def _program() -> str:
    """Say how to call us from here: by name if that finds us, else by path."""
    ours = Path(sys.executable).with_name("runmesh")
    found = shutil.which(ours.name)
    return ours.name if found and Path(found) == ours else _short(ours)


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative

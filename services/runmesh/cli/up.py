"""`runmesh up`: a whole mesh on one machine. A NATS server, a resolver and a local executor, until Ctrl-C.

The services are the very ones that an operator runs, as child processes. What dies is started again; nothing
outlives us, however we end.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from runmesh.bus import connect, provision
from runmesh.cli import output
from runmesh.cli.children import Child, Stopping
from runmesh.cli.context import METADATA, projects_in
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.client import Mesh
from runmesh.embedded import Server, embedded
from runmesh.errors import Invalid, Problem
from runmesh.local import LocalMesh, announced
from runmesh.settings import PREFIX, Settings, load

app = typer.Typer()

_LOCAL: Final = "local_python"
_READY_WITHIN: Final = 20.0
_LOOK: Final = 0.05
_ELSEWHERE: Final = (
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_NKEY",
    "NATS_CREDENTIALS",
    "NATS_CA",
    "NATS_CERTIFICATE",
    "NATS_KEY",
    "NATS_INBOX",
)
"""What the environment says of another server than ours."""
_LEASE: Final = 10.0
"""How soon a new executor takes over from one that died, in seconds: on one machine no network asks for patience."""


@app.command("up")
def up(
    project_dir: Annotated[Path, typer.Argument(help="A project, or a folder of projects.")] = Path(),
    *,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The server's port.", show_default="free")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Blocks at once.", show_default="cores")] = None,
) -> None:
    """Run a whole mesh on this machine, until Ctrl-C. Every other command finds it by itself.

    What is stored stays in RUNMESH_STATE_DIR (.runmesh), so runs go on after a restart.
    """
    projects_dir, project = _projects(project_dir)

    async def work() -> Exit:
        here = settings_for(projects_dir)
        async with embedded(here.state_dir / "nats", port) as server:
            mesh = LocalMesh(server.url, server.token, os.getpid(), here.ack_wait, str(projects_dir), project)
            with announced(mesh, here.state_dir) as file:
                await _run(here, server, mesh, file, slots)
        return Exit.OK

    run_command(work())


async def _run(here: Settings, server: Server, mesh: LocalMesh, file: Path, slots: int | None) -> None:
    async with services(here, server, slots) as (_, stopping):
        if not stopping.begun:
            output.out().print(_welcome(server, mesh, file))
        await stopping.wait()
        output.say("stopping: what runs may end first (Ctrl-C again ends it now)")


@asynccontextmanager
async def services(
    here: Settings, server: Server, slots: int | None = None, *, also: str | None = None
) -> AsyncIterator[tuple[Mesh, Stopping]]:
    """Run a resolver and a local executor for the length of the block, which begins when they are ready.

    `also` is an executor type that runs beside the local one.
    """
    environment = _environment(here, server, slots)
    kinds = [_LOCAL, also] if also and also != _LOCAL else [_LOCAL]
    children = [
        Child("resolver", ("resolver",), environment),
        *(Child(f"executor {kind}" if also else "executor", ("executor", kind), environment) for kind in kinds),
    ]
    async with connect(server.url, name="runmesh up", token=server.token) as bus:
        await provision(bus, pools=dict.fromkeys(kinds, here.pools), ack_wait=here.ack_wait)
        async with Stopping(children) as stopping, asyncio.TaskGroup() as group:
            keeping = group.create_task(_keep(server))
            for child in children:
                group.create_task(child.run())
            mesh = Mesh(bus)
            await _ready(mesh, stopping, len(kinds))
            yield mesh, stopping
            stopping.begin()
            keeping.cancel()


async def _keep(server: Server) -> None:
    """Start the server again whenever it dies: everybody else waits for it, and nothing stored is lost."""
    while True:
        code = await server.ended()
        output.say(f"nats-server ended with {code}; starting it again")
        await server.start()


async def _ready(mesh: Mesh, stopping: Stopping, count: int) -> None:
    """Wait until so many workers are there: what is submitted then starts at once."""
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while not stopping.begun and len(await mesh.workers()) < count:  # noqa: ASYNC110 - in other processes
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        output.say("no worker is there yet; `runmesh doctor` looks for the reason")


def _projects(directory: Path) -> tuple[Path, str | None]:
    """Return the folder of projects, and the project itself if the directory is one."""
    path = directory.resolve()
    if (path / METADATA).is_file():
        return path.parent, path.name
    if projects_in(path):
        return path, None
    hint = "a project is a folder that holds metadata.yaml"
    raise Invalid(Problem("PROJECT_DIR", f"{directory} is no project, and holds none", hint))


def settings_for(projects_dir: Path) -> Settings:
    """Return the environment's settings for a mesh on this machine."""
    here = load(projects_dir=projects_dir)
    return here if "ack_wait" in here.model_fields_set else here.model_copy(update={"ack_wait": _LEASE})


def _environment(here: Settings, server: Server, slots: int | None) -> Mapping[str, str]:
    ours = {
        "NATS_URL": server.url,
        "NATS_TOKEN": server.token,
        **dict.fromkeys(_ELSEWHERE, ""),
        "PROJECTS_DIR": str(here.projects_dir),
        "STATE_DIR": str(here.state_dir.resolve()),
        "ACK_WAIT": str(here.ack_wait),
        "ALLOW_INLINE": "true",
        "ALLOW_OVERRIDES": "true",
    }
    if here.health_port:
        ours["HEALTH_PORT"] = ""  # one port is not for several services
    if slots is not None:
        ours["SLOTS"] = str(slots)
    usual = {f"{PREFIX}LOG_LEVEL": "warning"}
    return {**usual, **os.environ, **{f"{PREFIX}{name}": value for name, value in ours.items()}}


def _welcome(server: Server, mesh: LocalMesh, file: Path) -> Group:
    facts = Table.grid(padding=(0, 3, 0, 0))
    directory = Path(mesh.projects_dir)
    names = [mesh.project] if mesh.project else projects_in(directory)
    facts.add_row("  [dim]NATS[/]", server.url, f"[dim]token in {os.path.relpath(file)}[/]")
    for name in names[:5]:
        facts.add_row("  [dim]project[/]", f"[bold]{name}[/]", f"[dim]{directory / name}[/]")
    title = Text.assemble(("✓", "green"), (" runmesh is up", "bold"), "\n")
    return Group(title, facts, Text(), output.steps(_steps(directory, names)), Text())


def _steps(directory: Path, names: list[str]) -> list[tuple[str, str]]:
    pipelines = sorted(path.parent.name for path in (directory / names[0]).glob(f"pipelines/*/{METADATA}"))
    pipeline = pipelines[0] if pipelines else "PIPELINE"
    project = f" --project {names[0]}" if len(names) > 1 else ""
    return [
        (f"runmesh submit {pipeline}{project} --watch", "start a run and follow it"),
        ("runmesh runs", "what ran"),
        ("Ctrl-C", "stop everything, keep what is stored"),
    ]

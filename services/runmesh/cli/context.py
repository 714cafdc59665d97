"""Where a command works: the settings, the mesh, and the project that is meant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from runmesh import local
from runmesh.client import Mesh
from runmesh.errors import Invalid, Problem
from runmesh.projects import find_project
from runmesh.settings import Settings, load

METADATA: Final = "metadata.yaml"
_PATIENCE: Final = 5.0

Json = Annotated[bool, typer.Option("--json", help="Write JSON, one value a line, and nothing else.")]
Project = Annotated[
    str | None,
    typer.Option("--project", "-p", envvar="RUNMESH_PROJECT", help="The project; the only one there is, if not given."),
]
Run = Annotated[str, typer.Argument(help="The run's id, as `runmesh runs` lists it.", show_default=False)]
Blocks = Annotated[list[str] | None, typer.Argument(help="Only these blocks.", show_default=False)]


def settings() -> Settings:
    """Return the environment's settings, pointing to the mesh that runs here where no other is named."""
    return local.located(load())


@asynccontextmanager
async def mesh() -> AsyncIterator[Mesh]:
    """Connect to the mesh that this machine or the environment names. A person waits for five seconds, no more."""
    async with Mesh.connected(settings(), within=_PATIENCE) as connected:
        yield connected


def project_or_default(given: str | None, parameter: str = "--project") -> str:
    """Return the project that is meant: the one given as `parameter`, else the only one there is. Raises `Invalid`."""
    here, found = load(), local.find(load())
    if given:
        return given
    if found and found.project:
        return found.project
    names = projects_in(Path(found.projects_dir) if found else here.projects_dir)
    if len(names) == 1:
        return names[0]
    if not names and (Path.cwd() / METADATA).is_file():
        return Path.cwd().name
    known = f"known here: {', '.join(names[:12])}" if names else "a project is a folder that holds metadata.yaml"
    raise Invalid(Problem(parameter, "say which project is meant", known))


def project_dir(given: str | None) -> Path:
    """Return a project's folder: a path, or a name below the projects directory; not given, the one meant here.

    Raises `Invalid` if it is no project.
    """
    if given is None:
        here = Path.cwd()
        return here if (here / METADATA).is_file() else settings().projects_dir / project_or_default(None, "PROJECT")
    if (Path(given) / METADATA).is_file():
        return Path(given)
    if Path(given).is_dir() or "/" in given:
        raise Invalid(Problem("PROJECT", f"{given} is no project", f"a project is a folder that holds {METADATA}"))
    return find_project(settings().projects_dir, given)


def projects_in(directory: Path) -> list[str]:
    """Name the projects in a directory: the folders that hold metadata.yaml."""
    return sorted(path.parent.name for path in directory.glob(f"*/{METADATA}")) if directory.is_dir() else []

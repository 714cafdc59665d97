"""How programs on one machine find the mesh that `runmesh up` runs there.

`runmesh up` writes ``<state_dir>/nats.json``, readable by its own user only, and removes it when it ends.
Whoever was told no NATS server by the environment looks there. A file that a killed `up` left behind is
known by its process being gone.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from runmesh.settings import Settings

FILE: Final = "nats.json"
USUAL_DIRECTORY: Final = Path(".runmesh")
_ELSEWHERE: Final = {"nats_url", "nats_user", "nats_nkey", "nats_credentials", "nats_ca", "nats_certificate"}


@dataclass(frozen=True, slots=True)
class LocalMesh:
    """A mesh on this machine: its server, the lease of its workers, and the projects it was started with."""

    url: str
    token: str
    pid: int
    ack_wait: float
    projects_dir: str
    project: str | None = None


@contextmanager
def announced(mesh: LocalMesh, state_dir: Path) -> Iterator[Path]:
    """Keep the file there for the length of the block."""
    path = state_dir / FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(mesh), file)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def find(settings: Settings) -> LocalMesh | None:
    """Return the mesh that runs here, unless the environment names a server, or says how to get into one."""
    if settings.model_fields_set & _ELSEWHERE:
        return None
    for directory in (settings.state_dir, USUAL_DIRECTORY):
        with suppress(OSError, ValueError, TypeError):
            mesh = LocalMesh(**_own(directory / FILE))
            os.kill(mesh.pid, 0)
            return mesh
    return None


def located(settings: Settings) -> Settings:
    """Return the settings, pointing to the mesh that runs here where no other server is named."""
    mesh = find(settings)
    if mesh is None:
        return settings
    # A worker with a longer lease than the mesh knows of would be taken for dead, and its work done twice.
    found: dict[str, Any] = {"nats_url": mesh.url, "nats_token": mesh.token, "ack_wait": mesh.ack_wait}
    if "projects_dir" not in settings.model_fields_set:
        found["projects_dir"] = mesh.projects_dir
    return Settings(**{**settings.model_dump(exclude_unset=True), **found})


def _own(path: Path) -> dict[str, Any]:
    # Somebody else's file would send our requests, and what they hold, to somebody else's server.
    with path.open() as file:
        if os.fstat(file.fileno()).st_uid != os.getuid():
            raise PermissionError(path)
        content: dict[str, Any] = json.load(file)
        return content

"""Bringing to S3 what a job needs: its script, its code, the bootstrap script of its cluster."""

import asyncio
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.amazon.emr import packing, script, site
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.folder import ROOT, SCRIPT, Folder
from runmesh.executors.amazon.emr.step import is_native
from runmesh.executors.amazon.emr.stored import Stored

_BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.sh")


class Staged(NamedTuple):
    """Where what a job needs is."""

    script: str
    code: str | None
    bootstrap: str
    log_uri: str


async def stage(stored: Stored, task: Task[Config], folder: Folder, staged: str, *, every: float) -> Staged:
    """Store all of it, the script last: it stands for the job. Raises `Rejected`, and as `Stored`.

    `every` so many seconds the script stores the job's output.
    """
    shared = Folder.of(f"{staged}/{ROOT}")
    bootstrap = await _bootstrap(stored, task, shared)
    order: dict[str, object] = {
        "command": list(task.command),
        "environment": {**task.environment, **_told(task)},
        "folder": folder.url,
        "code": None,
        "every": every,
    }
    if is_native(task):
        project = Path(task.command[1])
        package = await asyncio.to_thread(packing.package, project)
        order |= {"code": await stored.share(shared, package.name, package.content), "project": project.name}
    await stored.write(folder, SCRIPT, script.program(order))
    code = order["code"]
    return Staged(folder.script, str(code) if code else None, bootstrap, site.logs(task.config, staged))


def _told(task: Task[Config]) -> dict[str, str]:
    return {
        "RUNMESH_RUN": task.run,
        "RUNMESH_BLOCK": task.block,
        "RUNMESH_KEY": task.key,
        "RUNMESH_ATTEMPT": str(task.attempt),
    }


async def _bootstrap(stored: Stored, task: Task[Config], shared: Folder) -> str:
    """Return where the script is that prepares nodes; nothing is stored where no cluster of ours is needed."""
    given = task.config.bootstrap_script_path
    if task.config.cluster_id or task.config.application_id:
        return ""
    if given and given.startswith("s3://"):
        return given
    content = await asyncio.to_thread(_content, given, site.project_of(task))
    name = f"bootstrap-{hashlib.sha256(content).hexdigest()[:16]}.sh"
    return await stored.share(shared, name, content)


def _content(given: str | None, project: Path | None) -> bytes:
    path = (project or Path()) / given if given else _BOOTSTRAP
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(f"bootstrap_script_path: {error}") from error

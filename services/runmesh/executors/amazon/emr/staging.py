"""What a job needs: its code and the bootstrap script of its cluster, which it shares with others, and its script."""

import asyncio
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from runmesh.errors import Rejected
from runmesh.executor import Task
from runmesh.executors.amazon.emr import packing, script, site
from runmesh.executors.amazon.emr.config import Config
from runmesh.executors.amazon.emr.folder import ROOT, Folder
from runmesh.executors.amazon.emr.step import is_native
from runmesh.executors.amazon.emr.stored import Stored
from runmesh.platforms.identity import told

_BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.sh")


class Shared(NamedTuple):
    """Where is what tasks share: their code, the bootstrap script of their cluster, EMR's logs."""

    code: str | None
    bootstrap: str
    log_uri: str


async def share(stored: Stored, task: Task[Config], staged: str) -> Shared:
    """Store the code and the bootstrap script. Raises `Rejected`, and as `Stored`."""
    shared = Folder.of(f"{staged}/{ROOT}")
    bootstrap, code = await _bootstrap(stored, task, shared), None
    if is_native(task):
        package = await asyncio.to_thread(packing.package, Path(task.command[1]))
        name = await asyncio.to_thread(lambda: package.name)
        code = await stored.share(shared, name, package.content)
    return Shared(code, bootstrap, site.logs(task.config, staged))


def program(task: Task[Config], folder: Folder, shared: Shared, *, every: float) -> bytes:
    """Return a task's script, which stores the task's output every so many seconds."""
    order: dict[str, object] = {
        "command": list(task.command),
        "environment": {**task.environment, **told(task)},
        "folder": folder.url,
        "code": shared.code,
        "every": every,
    }
    if is_native(task):
        order["project"] = Path(task.command[1]).name
    return script.program(order)


async def _bootstrap(stored: Stored, task: Task[Config], shared: Folder) -> str:
    """Return where the script is that prepares nodes; nothing is stored where no cluster of ours is needed."""
    given = task.config.bootstrap_script_path
    if task.config.cluster_id or task.config.application_id:
        return ""
    if given and given.startswith("s3://"):
        return given
    content = await asyncio.to_thread(_content, given, site.project_of(task))
    name = f"bootstrap-{hashlib.sha256(content).hexdigest()[:16]}.sh"
    return await stored.share(shared, name, lambda: content)


def _content(given: str | None, project: Path | None) -> bytes:
    path = (project or Path()) / given if given else _BOOTSTRAP
    try:
        return path.read_bytes()
    except OSError as error:
        raise Rejected(f"bootstrap_script_path: {error}") from error

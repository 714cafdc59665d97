"""Whose a platform's job is: what is written on it, what it is told, and what it is called."""

import base64
import hashlib
import re
from typing import Any, Final

from runmesh.executor import Task
from runmesh.subjects import WHOLE_PIPELINE

_OF_TASK: Final = ("key", "run", "project", "pipeline", "block")


def identity(task: Task[Any], prefix: str, *, mesh: str, pool: str) -> dict[str, str]:
    """Return what is written on a task's job, by names that begin with `prefix`: the mesh, the pool, and the task."""
    return {f"{prefix}mesh": mesh, f"{prefix}pool": pool, **of_task(task, prefix)}


def of_task(task: Task[Any], prefix: str) -> dict[str, str]:
    """Return which task a job is for."""
    return {f"{prefix}{name}": getattr(task, name) for name in _OF_TASK}


def told(task: Task[Any]) -> dict[str, str]:
    """Return the variables that tell a job whose it is."""
    return {
        "RUNMESH_RUN": task.run,
        "RUNMESH_BLOCK": task.block,
        "RUNMESH_KEY": task.key,
        "RUNMESH_ATTEMPT": str(task.attempt),
    }


def block_name(readable: str, task: Task[Any], key: str, longest: int) -> str:
    """Return ``{readable}-block-{key}``, its readable part cut where it is too long."""
    end = f"-{'pipeline' if task.block == WHOLE_PIPELINE else 'block'}-{key}"
    return readable[: longest - len(end)].strip("-") + end


def plain(text: str) -> str:
    """Return lower-case letters and digits, with single hyphens between; nothing if there are none."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def digest(text: str, length: int) -> str:
    """Return letters and digits that differ where the text differs."""
    return base64.b32encode(hashlib.sha256(text.encode(errors="surrogatepass")).digest()).decode().lower()[:length]

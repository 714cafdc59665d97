"""What is too long for ECS, by reference: documents of a command are stored beside the task's outcome, and read there.

`runmesh-run` reads what stands behind ``@`` from a URL. So the longest documents are stored, until the rest fits, where
the pipeline's variables are, if that is a URL: a directory of this machine's is none of the job's. The same content has
the same name, so a task is asked for with the same arguments, whoever asks.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from runmesh.errors import Rejected, Unavailable
from runmesh.events import OUTCOME
from runmesh.executor import Task
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.request import fits

_DOCUMENTS: Final = ("--runtime-vars", "--event", "--pipeline-document")
_WITHIN: Final = 6.0
_WORTHWHILE: Final = 256
"""Characters below which a reference saves next to nothing."""


def by_reference(task: Task[Config], container: str) -> tuple[Task[Config], Mapping[str, str]]:
    """Return a task that fits, if it can be made to, and what must be stored for it, by URL (pure)."""
    folder, stored = _folder(task), dict[str, str]()
    while folder and not fits(task, container) and (place := _longest(task.command)) is not None:
        text = task.command[place]
        url = f"{folder}/{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}.json"
        stored[url] = text
        task = replace(task, command=(*task.command[:place], f"@{url}", *task.command[place + 1 :]))
    return task, stored


def _folder(task: Task[Config]) -> str | None:
    outcome = task.environment.get(OUTCOME, "")
    readable = task.command[:1] == ("runmesh-run",) and "://" in outcome
    return f"{outcome.rpartition('/')[0]}/given" if readable else None


def _longest(command: tuple[str, ...]) -> int | None:
    places = [n + 1 for n, flag in enumerate(command[:-1]) if flag in _DOCUMENTS]
    long = [n for n in places if len(command[n]) > _WORTHWHILE and not command[n].startswith("@")]
    return max(long, key=lambda n: len(command[n]), default=None)


async def store(documents: Mapping[str, str]) -> None:
    """Store what a task refers to. Raises `Rejected` where there is no such place for us, else `Unavailable`."""
    for url, text in documents.items():
        try:
            async with asyncio.timeout(_WITHIN):
                await asyncio.to_thread(_write, url, text.encode())
        except (FileNotFoundError, PermissionError, ImportError, ValueError) as error:
            raise Rejected(f"its variables are too long for ECS, and can't be stored in {url}: {error}") from error
        except Exception as error:  # storage clients raise what they like, and nothing was started yet
            raise Unavailable(f"its variables can't be stored in {url} for now: {error!r}") from error


def _write(url: str, data: bytes) -> None:
    import fsspec  # noqa: PLC0415 - an extra, for those who store remotely

    options = {"auto_mkdir": True} if url.startswith("file:") else {}
    with fsspec.open(url, "wb", **options) as file:
        file.write(data)

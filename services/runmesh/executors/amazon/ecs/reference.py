"""What is too long for ECS, by reference: documents of a command are stored beside the task's outcome, and read there.

`runmesh-run` reads what stands behind ``@`` from a URL. So the longest documents are stored, until the rest fits, where
the pipeline's variables are, if that is a URL: a directory of this machine's is none of the job's. The same content of
the same task has the same name, so a task is asked for with the same arguments, whoever asks. When a task is removed,
so is what it refers to, which its description tells.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import structlog

from runmesh.errors import Rejected, Unavailable
from runmesh.events import OUTCOME
from runmesh.executor import Task
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.request import fits

log = structlog.get_logger(__name__)

_DOCUMENTS: Final = ("--runtime-vars", "--event", "--pipeline-document")
_WITHIN: Final = 6.0
_WORTHWHILE: Final = 256
"""Characters below which a reference saves next to nothing."""
_OURS: Final = re.compile(r"@(\w+://.+/\.runmesh/[^/]+/given/[^/]+\.json)")


def by_reference(task: Task[Config], container: str) -> tuple[Task[Config], Mapping[str, str]]:
    """Return a task that fits, if it can be made to, and what must be stored for it, by URL (pure)."""
    folder, stored = _folder(task), dict[str, str]()
    while folder and not fits(task, container) and (place := _longest(task.command)) is not None:
        text = task.command[place]
        url = f"{folder}/{task.key}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}.json"
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


def references(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a task of ours refers to, by its description (pure)."""
    overridden = (found.get("overrides") or {}).get("containerOverrides") or ()
    words = (word for each in overridden for word in each.get("command") or ())
    return tuple(ours[1] for word in words if (ours := _OURS.fullmatch(word)))


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


async def discard(urls: Iterable[str]) -> None:
    """Delete what a task refers to that has ended. What can't be deleted stays: nothing else depends on it."""
    for url in urls:
        try:
            async with asyncio.timeout(_WITHIN):
                with suppress(FileNotFoundError):  # another worker was faster
                    await asyncio.to_thread(_delete, url)
        except Exception as error:  # noqa: BLE001 - storage clients raise what they like
            log.warning("variables not deleted", action="remove", url=url, error=repr(error))


def _delete(url: str) -> None:
    import fsspec  # noqa: PLC0415 - as above

    files, path = fsspec.core.url_to_fs(url)
    files.rm_file(path)

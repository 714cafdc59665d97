"""The outcome that a job may leave: what the mesh must know besides an exit code, at a path the resolver chose."""

import asyncio
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic_core import from_json

from runmesh.errors import RunmeshError

TRIES: Final = 3
_LARGEST: Final = 1_000_000
_WITHIN: Final = 30.0
_FIRST_PAUSE: Final = 0.1
log = structlog.get_logger(__name__)


class Unreadable(RunmeshError):
    """There may be an outcome, but it can't be read."""


async def read(location: str | None) -> dict[str, Any] | None:
    """Return a job's outcome, None if it left none. Raises `Unreadable`."""
    if location is None:
        return None
    try:
        async with asyncio.timeout(_WITHIN):
            content = await asyncio.to_thread(_content, location)
    except FileNotFoundError:
        return None
    except Exception as error:  # storage clients raise what they like
        raise Unreadable(f"{location}: {error!r}") from error
    return _parsed(location, content)


async def read_if_possible(location: str | None, *, tries: int = 1) -> dict[str, Any] | None:
    """Return a job's outcome, None as well if it can't be read after so many tries, a little later each."""
    for attempt in range(tries):
        try:
            return await read(location)
        except Unreadable as error:
            log.warning("outcome not readable", action="end", location=location, error=str(error))
            if attempt + 1 < tries:
                await asyncio.sleep(_FIRST_PAUSE * 4**attempt)
    return None


def _content(location: str) -> bytes:
    if "://" not in location:
        with Path(location).open("rb") as file:
            return file.read(_LARGEST + 1)
    import fsspec  # noqa: PLC0415 - an extra, for those who store remotely

    with fsspec.open(location, "rb") as remote:
        data: bytes = remote.read(_LARGEST + 1)
        return data


def _parsed(location: str, content: bytes) -> dict[str, Any]:
    if len(content) > _LARGEST:
        raise Unreadable(f"{location}: larger than {_LARGEST} bytes")
    try:
        outcome = from_json(content)
    except ValueError as error:
        raise Unreadable(f"{location}: {error}") from None
    if not isinstance(outcome, dict):
        raise Unreadable(f"{location}: not an object")
    return outcome

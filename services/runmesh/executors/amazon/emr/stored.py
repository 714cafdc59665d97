"""Our objects in S3: the code and the bootstrap script, which tasks share, and the folder of each task."""

import asyncio
import gzip
import json
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from math import inf
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr.folder import OUTPUT, REPORT, SCRIPT, Folder
from runmesh.executors.amazon.emr.verdict import Report
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.amazon.session import Amazon
from runmesh.platforms.lines import TAIL, tail

_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_LARGEST_LOG: Final = 8_000_000
"""Bytes, as they are stored."""
_PLACE: Final = "place"
_CURSOR: Final = ("NextContinuationToken", "ContinuationToken")
_GOOD_FOR: Final = timedelta(days=1)
"""After that a shared object is stored again, so that a lifecycle rule takes none that is still to be used."""


class Begun(NamedTuple):
    """A task's script was stored: when, and for which cluster or application."""

    when: datetime
    place: str


class Piece(NamedTuple):
    """A stored piece of a task's output: its key, its first byte, its size."""

    key: str
    start: int
    size: int


class Stored:
    """S3, as one worker uses it. All raise `Refused` and ConnectionError."""

    def __init__(self, amazon: Amazon, access: Access) -> None:
        self._amazon, self._access = amazon, access
        self._sharing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of the objects that are being shared: what many tasks need at once is stored once."""

    async def begun(self, folder: Folder) -> Begun | None:
        """Return what is known of a task's script; None if there is none, so that no step can have run it."""
        try:
            found = await self._read("head_object", Bucket=folder.bucket, Key=folder.key(SCRIPT))
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise
        return Begun(found["LastModified"], (found.get("Metadata") or {}).get(_PLACE, ""))

    async def begin(self, folder: Folder, program: bytes, place: str) -> None:
        """Store a task's script, for the place that it is given to next."""
        await self._write(folder.bucket, folder.key(SCRIPT), program, Metadata={_PLACE: place})

    async def share(self, folder: Folder, name: str, content: Callable[[], bytes]) -> str:
        """Store what is named by its content, unless it is there; return its URL. `content` is called in a thread."""
        key = folder.key(name)
        async with self._sharing.setdefault(f"{folder.bucket}/{key}", asyncio.Lock()):
            found = await self._read("list_objects_v2", Bucket=folder.bucket, Prefix=key, MaxKeys=1)
            if not any(datetime.now(UTC) - each["LastModified"] < _GOOD_FOR for each in found.get("Contents") or ()):
                await self._write(folder.bucket, key, await asyncio.to_thread(content))
        return f"s3://{folder.bucket}/{key}"

    async def report(self, folder: Folder) -> Report | None:
        """Return what the script left at its end, if it did."""
        content = await self._content(folder, folder.key(REPORT))
        if content is None:
            return None
        said = json.loads(content)
        return Report(
            said.get("exit_code"), tuple(said.get("tail") or ()), bool(said.get("native")), bool(said.get("stopped"))
        )

    async def last_lines(self, log: str) -> tuple[str, ...]:
        """Return the end of a log of EMR's own (s3://…/stderr.gz), if it is there yet, and neither large nor spoilt."""
        folder = Folder.of(log)
        content = await self._content(folder, folder.prefix, most=_LARGEST_LOG)
        return await asyncio.to_thread(_last_lines, content or b"", zipped=log.endswith(".gz"))

    async def pieces(self, folder: Folder, *, behind: str) -> AsyncIterator[Piece]:
        """Yield the stored pieces of a task's output in order, from the one that comes behind a key (or "") on."""
        async for each in self._listed(folder, OUTPUT, **({"StartAfter": behind} if behind else {})):
            yield Piece(each["Key"], int(each["Key"].rpartition("/")[2]), each["Size"])

    async def content(self, folder: Folder, piece: Piece) -> bytes:
        """Return a piece's bytes."""
        return await self._content(folder, piece.key) or b""

    async def clear(self, folder: Folder) -> None:
        """Remove a task's folder."""
        keys = await self._keys(folder)
        for first in range(0, len(keys), 1000):
            objects = [{"Key": key} for key in keys[first : first + 1000]]
            answer = await self._read(
                "delete_objects", Bucket=folder.bucket, Delete={"Objects": objects, "Quiet": True}
            )
            for error in answer.get("Errors") or ():
                raise Refused(error.get("Code") or "", f"{error.get('Message') or ''} ({error.get('Key')})")

    async def _keys(self, folder: Folder) -> list[str]:
        """Return all keys; the script last, without which there is no job."""
        keys = [each["Key"] async for each in self._listed(folder, "")]
        return sorted(keys, key=lambda key: key == folder.key(SCRIPT))

    def _listed(self, folder: Folder, below: str, **more: str) -> AsyncIterator[dict[str, Any]]:
        where = {"Bucket": folder.bucket, "Prefix": folder.key(below), **more}
        return self._amazon.pages("s3", self._access, "list_objects_v2", "Contents", _CURSOR, **where)

    async def _write(self, bucket: str, key: str, content: bytes, **more: Any) -> None:
        await self._read("put_object", Bucket=bucket, Key=key, Body=content, **more)

    async def _content(self, folder: Folder, key: str, most: float = inf) -> bytes | None:
        try:
            found = await self._read("get_object", Bucket=folder.bucket, Key=key)
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise
        async with found["Body"] as body:
            content: bytes | None = await body.read() if found["ContentLength"] <= most else None
            return content

    async def _read(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._amazon.read("s3", self._access, operation, **arguments)


def _last_lines(content: bytes, *, zipped: bool) -> tuple[str, ...]:
    file = BytesIO(content)
    try:
        lines = deque(gzip.GzipFile(fileobj=file) if content and zipped else file, maxlen=TAIL)
    except (OSError, EOFError, zlib.error):
        return ()
    return tail(line.decode("utf-8", "replace").rstrip("\r\n") for line in lines)

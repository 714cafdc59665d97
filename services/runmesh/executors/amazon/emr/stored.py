"""Our objects in S3: the code and the bootstrap script, which tasks share, and the folder of each task."""

import gzip
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from runmesh.executors.amazon.access import Access
from runmesh.executors.amazon.emr.folder import OUTPUT, REPORT, SCRIPT, Folder
from runmesh.executors.amazon.emr.verdict import Report
from runmesh.executors.amazon.refusals import Refused
from runmesh.executors.amazon.session import Amazon

_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_TAIL: Final = 20


class Piece(NamedTuple):
    """A stored piece of a task's output: its key, its first byte, its size."""

    key: str
    start: int
    size: int


class Stored:
    """S3, as one worker uses it. All raise `Refused` and ConnectionError."""

    def __init__(self, amazon: Amazon, access: Access) -> None:
        self._amazon, self._access = amazon, access

    async def begun(self, folder: Folder) -> datetime | None:
        """Return when a task's script was stored; None if there is none, so that no step can have run it."""
        try:
            found = await self._read("head_object", Bucket=folder.bucket, Key=folder.key(SCRIPT))
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise
        when: datetime = found["LastModified"]
        return when

    async def write(self, folder: Folder, name: str, content: bytes) -> None:
        """Store an object."""
        await self._read("put_object", Bucket=folder.bucket, Key=folder.key(name), Body=content)

    async def share(self, folder: Folder, name: str, content: bytes) -> str:
        """Store what is named by its content, unless it is there; return its URL."""
        key = folder.key(name)
        found = await self._read("list_objects_v2", Bucket=folder.bucket, Prefix=key, MaxKeys=1)
        if not found.get("Contents"):
            await self.write(folder, name, content)
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
        """Return the end of a log of EMR's own (s3://…/stderr.gz), if it is there yet and can be read."""
        folder = Folder.of(log)
        content = await self._content(folder, folder.prefix)
        try:
            text = gzip.decompress(content) if content and log.endswith(".gz") else content or b""
        except OSError:
            return ()
        return tuple(text.decode("utf-8", "replace").splitlines()[-_TAIL:])

    async def output(self, folder: Folder, since: int) -> list[tuple[int, bytes]]:
        """Return the stored pieces of a task's output with their first bytes, from those on that reach past `since`."""
        pieces = [piece for piece in await self._pieces(folder) if piece.start + piece.size > since]
        return [(piece.start, await self._content(folder, piece.key) or b"") for piece in pieces]

    async def clear(self, folder: Folder) -> None:
        """Remove a task's folder."""
        keys = await self._keys(folder)
        for first in range(0, len(keys), 1000):
            objects = [{"Key": key} for key in keys[first : first + 1000]]
            await self._read("delete_objects", Bucket=folder.bucket, Delete={"Objects": objects, "Quiet": True})

    async def _pieces(self, folder: Folder) -> Sequence[Piece]:
        listed = await self._listed(folder, OUTPUT)
        return [Piece(each["Key"], int(each["Key"].rpartition("/")[2]), each["Size"]) for each in listed]

    async def _keys(self, folder: Folder) -> list[str]:
        """Return all keys; the script last, without which there is no job."""
        keys = [each["Key"] for each in await self._listed(folder, "")]
        return sorted(keys, key=lambda key: key == folder.key(SCRIPT))

    async def _listed(self, folder: Folder, below: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = await self._read("list_objects_v2", Bucket=folder.bucket, Prefix=folder.key(below), **more)
            found += page.get("Contents") or ()
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _content(self, folder: Folder, key: str) -> bytes | None:
        try:
            found = await self._read("get_object", Bucket=folder.bucket, Key=key)
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise
        async with found["Body"] as body:
            content: bytes = await body.read()
            return content

    async def _read(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._amazon.read("s3", self._access, operation, **arguments)

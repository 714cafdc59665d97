"""A NATS key-value bucket with compare-and-swap."""

import asyncio
from collections.abc import AsyncIterator

from runmesh.bus.message import Deleted, Entry


class Bucket:
    """One KV bucket, compatible with any NATS KV client. Reads go to the leader: what was just written is seen."""

    async def get(self, key: str) -> Entry | None:
        """Read one key."""
        raise NotImplementedError

    def post(self, key: str, value: bytes, *, revision: int | None = None) -> asyncio.Future[int]:
        """Send a write now, in the order of the calls; the future holds its revision.

        `revision` is the expected one, 0 if the key must never have existed, None for any.
        """
        raise NotImplementedError

    async def put(self, key: str, value: bytes) -> int:
        """Write, whatever is there."""
        raise NotImplementedError

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that isn't there (or was deleted). Raises `Conflict` if it is."""
        raise NotImplementedError

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write if the key still is at `revision`. Raises `Conflict` otherwise."""
        raise NotImplementedError

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Delete, if still at `revision` when one is given. The marker vanishes after a minute."""
        raise NotImplementedError

    async def entries(self, pattern: str = ">") -> list[Entry]:
        """List what is there now."""
        raise NotImplementedError

    async def keys(self, pattern: str = ">") -> list[str]:
        """List the keys that are there now."""
        raise NotImplementedError

    def watch(self, pattern: str = ">") -> AsyncIterator[Entry | Deleted]:
        """Yield changes from now on, for ever. A hint: pair it with a periodic `entries`."""
        raise NotImplementedError

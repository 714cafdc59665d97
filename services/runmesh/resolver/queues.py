"""How the queues stand, for `/metrics`.

Resolvers look, since the question matters most where no worker is left to answer it; each tells the same. What they
can't see for the moment they don't tell.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog

from runmesh import metrics
from runmesh.bus import Bus
from runmesh.errors import BusError, NotProvisioned
from runmesh.executor import installed_types
from runmesh.subjects import FACTS, REQUESTS, RESOLVER, execute_stream

_EVERY: Final = 10.0
_ALL: Final = ">"
log = structlog.get_logger()


class Queue(NamedTuple):
    """One durable consumer."""

    stream: str
    consumer: str
    pending: int
    taken: int
    oldest: float
    """Seconds since the oldest was stored of those that wait."""


class Queues:
    """Looks at every queue, every few seconds."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._shown: set[tuple[str, str]] = set()

    async def follow(self) -> None:
        """Look and tell, for ever; what nobody looks at any more is not told either."""
        try:
            while True:
                await self.tell()
                await asyncio.sleep(_EVERY)
        finally:
            self._show([])

    async def tell(self) -> None:
        """Look, and show what is seen, and nothing else."""
        try:
            found = await self.look()
        except BusError as error:
            log.debug("queues not seen", action="observe", error=str(error))
            found = []
        self._show(found)

    async def look(self) -> Sequence[Queue]:
        """Return how all queues stand. Raises `BusError`."""
        known = [await self._bus.api(f"CONSUMER.INFO.{stream}.{RESOLVER}") for stream in (REQUESTS, FACTS)]
        for kind in installed_types():
            with suppress(NotProvisioned):  # installed since then: nothing can be queued there
                known += (await self._bus.api(f"CONSUMER.LIST.{execute_stream(kind)}"))["consumers"] or ()
        return [await self._queue(info) for info in known]

    async def _queue(self, info: Mapping[str, Any]) -> Queue:
        stream, pending = info["stream_name"], info["num_pending"]
        since = await (self._first_request() if stream == REQUESTS else self._first_of(info))
        age = max(0.0, (datetime.now(UTC) - since).total_seconds()) if since else 0.0
        return Queue(stream, info["name"], pending, info["num_ack_pending"], age)

    async def _first_request(self) -> datetime | None:
        """Return since when the oldest request is there: one that is tried again and again waits as well."""
        state = (await self._bus.api(f"STREAM.INFO.{REQUESTS}"))["state"]
        return datetime.fromisoformat(state["first_ts"]) if state["messages"] else None

    async def _first_of(self, info: Mapping[str, Any]) -> datetime | None:
        """Return since when the oldest message is there that nobody has taken."""
        if not info["num_pending"]:
            return None
        config, after = info["config"], info["delivered"]["stream_seq"] + 1
        filters = config.get("filter_subjects") or [config.get("filter_subject", _ALL)]
        found = [await self._bus.first(info["stream_name"], subject, after) for subject in filters]
        return min((message.at for message in found if message), default=None)

    def _show(self, queues: Sequence[Queue]) -> None:
        for queue in queues:
            where = queue.stream, queue.consumer
            metrics.PENDING.labels(*where).set(queue.pending)
            metrics.TAKEN.labels(*where).set(queue.taken)
            metrics.OLDEST.labels(*where).set(queue.oldest)
        there = {(queue.stream, queue.consumer) for queue in queues}
        for gone in self._shown - there:
            for gauge in (metrics.PENDING, metrics.TAKEN, metrics.OLDEST):
                gauge.remove(*gone)
        self._shown = there

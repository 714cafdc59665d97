"""Logs: streams of events, read in pages."""

import time
from collections.abc import Mapping
from typing import Any

from tests.emulators.amazon.refusals import AwsError


class CloudWatch:
    """All streams, by group and name."""

    def __init__(self) -> None:
        self.page = 100
        """Events in a page at most."""
        self.delay = 0.0
        """Seconds until what was stored can be read."""
        self._streams: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def add(self, group: str, stream: str, line: bytes) -> None:
        """Store a line; empty ones are dropped, as the driver does."""
        events = self._streams.setdefault((group, stream), [])
        now = int(time.time() * 1000)
        if text := line.rstrip(b"\n").decode(errors="replace"):
            events.append({"timestamp": now, "message": text, "ingestionTime": now})

    async def get_log_events(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a page."""
        stored = self._streams.get((asked["logGroupName"], asked["logStreamName"]), [])
        until = (time.time() - self.delay) * 1000
        events = [event for event in stored if event["ingestionTime"] <= until]
        if not events:
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit = min(self.page, asked.get("limit", self.page))
        if "nextToken" in asked:
            first = int(asked["nextToken"].partition("/")[2])
        else:
            first = 0 if asked.get("startFromHead") else max(0, len(events) - limit)
        last = min(len(events), first + limit)
        return {
            "events": events[first:last],
            "nextForwardToken": f"f/{last:056}",
            "nextBackwardToken": f"b/{first:056}",
        }

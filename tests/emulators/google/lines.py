"""Cloud Logging, as far as output goes: entries by execution, in the order of their times, some of them late."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from google.cloud.logging_v2 import types
from google.protobuf.json_format import ParseDict

from tests.emulators.google.keys import PROJECT
from tests.emulators.google.refusals import GoogleError

_CLAUSE: Final = re.compile(r'labels\."run\.googleapis\.com/execution_name"="([^"]+)" timestamp>="([^"]+)Z"')
_LONGEST: Final = 20_000

Entry = types.LogEntry.pb()


class Lines:
    """All lines of a project."""

    def __init__(self) -> None:
        self.page = 1000
        self.late = 0.0
        """Seconds until a line that comes now can be read."""
        self.asked: list[list[str]] = []
        """The executions that each question named."""
        self._entries: dict[str, list[tuple[int, Any]]] = {}
        self._count = 0

    def add(self, execution: str, stream: str, line: bytes) -> None:
        """Store a line."""
        now = time.time_ns()
        if self.late:
            asyncio.get_running_loop().call_later(self.late, self._store, execution, stream, line, now)
        else:
            self._store(execution, stream, line, now)

    def _store(self, execution: str, stream: str, line: bytes, now: int) -> None:
        self._count += 1
        text = line.decode(errors="replace").removesuffix("\n")
        entry = Entry(log_name=f"projects/{PROJECT}/logs/run.googleapis.com%2F{stream}", insert_id=f"{self._count:09d}")
        entry.timestamp.FromNanoseconds(now)
        entry.labels["run.googleapis.com/execution_name"] = execution
        if isinstance(found := _object(text), Mapping):
            ParseDict(dict(found), entry.json_payload)
        else:
            entry.text_payload = text
        self._entries.setdefault(execution, []).append((now, entry))

    def answer(self, asked: Any) -> Any:
        """Return a page."""
        if len(asked.filter) > _LONGEST:
            raise GoogleError("INVALID_ARGUMENT", "The filter is too long")
        if asked.order_by != "timestamp asc":
            raise GoogleError("INVALID_ARGUMENT", f"order_by: {asked.order_by}")
        clauses = _CLAUSE.findall(asked.filter)
        self.asked.append([name for name, _ in clauses])
        found = [each for name, since in clauses for each in self._since(name, since)]
        found.sort(key=lambda each: (each[0], each[1].insert_id))
        first, size = int(asked.page_token or 0), min(self.page, asked.page_size)
        more = str(first + size) if first + size < len(found) else ""
        page = [entry for _, entry in found[first : first + size]]
        return types.ListLogEntriesResponse.pb()(entries=page, next_page_token=more)

    def _since(self, execution: str, text: str) -> list[tuple[int, Any]]:
        whole, _, nanos = text.partition(".")
        since = int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(nanos)
        return [each for each in self._entries.get(execution, ()) if each[0] >= since]


def _object(text: str) -> Any:
    if not text.startswith("{"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None

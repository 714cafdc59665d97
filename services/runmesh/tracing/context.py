"""Where a span stands, as W3C trace context says it, and ids that every process derives alike.

The span of a run, or of a task, is named as a parent before it is told, by processes that may die or be replaced.
So its id is a digest of what they all know: the run's id and creation, the task's key.
"""

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from runmesh.cloudevents import TRACE_HEADERS, trace_of

_SPAN: Final = 8
_TRACE: Final = 16
_SAMPLED: Final = 1


class Place(NamedTuple):
    """A span's context: what its children name as their parent."""

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""
    """Of other systems (``tracestate``): handed on untouched."""

    def headers(self) -> dict[str, str]:
        """Return it as W3C headers."""
        traceparent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"
        return {"traceparent": traceparent} | ({"tracestate": self.state} if self.state else {})


def read(headers: Mapping[str, str]) -> Place | None:
    """Return the place that headers name, if they name one."""
    found = trace_of(headers)
    if not found:
        return None
    _, trace, span, flags = found["traceparent"].split("-")[:4]
    place = Place(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED), found.get("tracestate", ""))
    return place if place.trace_id and place.span_id else None


def span_id(*names: object) -> int:
    """Return the id of a span that these names, together, say apart from every other."""
    return _digest(_SPAN, names)


def trace_id(run: str, created_at: datetime) -> int:
    """Return the id of a run's own trace: its id alone may come again when the run is long forgotten."""
    return _digest(_TRACE, (run, created_at.timestamp()))


def _digest(size: int, names: tuple[object, ...]) -> int:
    return int.from_bytes(sha256("\0".join(map(str, names)).encode()).digest()[:size]) or 1


def caller() -> dict[str, str]:
    """Return the trace headers of the program that we are part of: its current span, else its TRACEPARENT."""
    carrier: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:  # else it has no current span
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - only where the program uses it
            TraceContextTextMapPropagator,
        )

        TraceContextTextMapPropagator().inject(carrier)
    environment = {name: os.environ[name.upper()] for name in TRACE_HEADERS if name.upper() in os.environ}
    return trace_of(carrier or environment)

"""Spans told to OpenTelemetry after they have ended: the only module that imports its SDK.

Sampling, limits and resource are the SDK's, from the standard ``OTEL_*`` variables. Only ids are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from runmesh import __version__
from runmesh.tracing.context import Place

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended."""

    name: str
    place: Place
    parent: Place | None
    start: datetime
    end: datetime
    attributes: Mapping[str, str | int]
    kind: SpanKind = SpanKind.INTERNAL
    error: str | None = None
    events: Mapping[str, datetime] = field(default_factory=dict)


class Spans:
    """Tells spans to a processor, which exports them in a thread of its own."""

    def __init__(self, service: str, instance: str, processor: SpanProcessor) -> None:
        ours = {"service.name": service, "service.version": __version__, "service.instance.id": instance}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        self._ids = _Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("runmesh", __version__)

    def samples(self, parent: Place | None, trace_id: int, name: str) -> bool:
        """Say whether a span of this trace is exported: every service decides the same, if configured the same."""
        result = self._provider.sampler.should_sample(_context(parent), trace_id, name)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def tell(self, span: Span) -> None:
        """Tell a span. It is queued: nothing waits for its export."""
        self._ids.place = span.place
        told = self._tracer.start_span(
            span.name, _context(span.parent), span.kind, span.attributes, start_time=_nanoseconds(span.start)
        )
        for name, at in span.events.items():
            told.add_event(name, timestamp=_nanoseconds(at))
        if span.error is not None:
            told.set_status(Status(StatusCode.ERROR, span.error))
        told.end(_nanoseconds(max(span.start, span.end)))

    def close(self) -> None:
        """Export what is queued. Blocks for as long as that takes, half a minute at most."""
        self._provider.shutdown()


class _Ids(IdGenerator):
    """Gives each span the id that its children know already."""

    def __init__(self) -> None:
        self.place = Place(1, 1, sampled=False)

    def generate_span_id(self) -> int:
        return self.place.span_id

    def generate_trace_id(self) -> int:
        return self.place.trace_id


def _context(parent: Place | None) -> Context:
    if parent is None:
        return Context()
    flags = _SAMPLED if parent.sampled else TraceFlags()
    state = TraceState.from_header([parent.state]) if parent.state else None
    place = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags, trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(place), Context())


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000

"""Where spans go: over OTLP to where the standard ``OTEL_*`` variables say, or nowhere."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from os import getpid
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import structlog

from runmesh.errors import Invalid, Problem, nearest

if TYPE_CHECKING:
    from runmesh.tracing.spans import Spans

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
_FLUSH_WITHIN: Final = 5.0
log = structlog.get_logger()


def wanted(environment: Mapping[str, str]) -> str | None:
    """Return the variable that says where spans go, unless another says that none are wanted."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none":
        return None
    return next((name for name in _ENDPOINTS if environment.get(name)), None)


def spans(service: str, environment: Mapping[str, str]) -> "Spans | None":
    """Return what tells spans, if any are wanted and the extra `otel` is installed. Raises `Invalid`."""
    if (asked := wanted(environment)) is None:
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol not in _EXPORTERS:
        raise Invalid(Problem(_PROTOCOLS[1], f"unknown protocol {protocol!r}", nearest(protocol, _EXPORTERS)))
    try:
        exporter, batches, telling = (
            import_module(_EXPORTERS[protocol]),
            import_module("opentelemetry.sdk.trace.export"),
            import_module("runmesh.tracing.spans"),
        )
    except ImportError as missing:
        log.warning("no traces: the extra `otel` is not installed", action="start", asked=asked, missing=missing.name)
        return None
    try:
        processor = batches.BatchSpanProcessor(exporter.OTLPSpanExporter())
    except (OSError, ValueError) as error:
        raise Invalid(Problem(asked, f"and its companions make no exporter: {error}")) from None
    made: Spans = telling.Spans(service, f"{socket.gethostname()}-{getpid()}", processor)
    return made


async def flush(told: Any) -> None:
    """Export what is queued, or give it up: a collector that is away holds nobody back."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        told.close()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    Thread(target=close, daemon=True, name="last spans").start()
    try:
        async with asyncio.timeout(_FLUSH_WITHIN):
            await done.wait()
    except TimeoutError:
        log.warning("some spans were not exported", action="stop")

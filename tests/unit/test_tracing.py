"""Where spans stand, and when they are told at all."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from runmesh.errors import Invalid
from runmesh.tracing.context import Place, caller, read, span_id, trace_id
from runmesh.tracing.export import spans, wanted

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = datetime(2026, 11, 23, tzinfo=UTC)
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_a_place_is_read_and_written_as_w3c_says() -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "shop=1,other=2"}
    place = read(headers)
    assert place == Place(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=True, state="shop=1,other=2")
    assert place.headers() == headers


@pytest.mark.parametrize(
    "traceparent",
    ["", "nonsense", TRACEPARENT.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{'a' * 32}-{'0' * 16}-01"],
)
def test_what_is_no_place_is_none(traceparent: str) -> None:
    assert read({"traceparent": traceparent}) is None


def test_what_is_not_sampled_stays_so() -> None:
    place = read({"traceparent": f"{TRACEPARENT[:-2]}02"})
    assert place
    assert not place.sampled
    assert place.headers()["traceparent"].endswith("-00")


def test_ids_are_the_same_everywhere_and_differ_for_whatever_is_another() -> None:
    assert span_id("run", "run-1", 1.5) == span_id("run", "run-1", 1.5)
    assert len({span_id("run", "a"), span_id("task", "a"), span_id("runa"), span_id("run", "b")}) == 4
    assert trace_id("run-1", AT) != trace_id("run-1", AT + timedelta(days=40))


def test_a_program_is_the_caller_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
    assert caller() == {"traceparent": TRACEPARENT}


def test_a_programs_current_span_is_the_caller_before_its_environment() -> None:
    code = (
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from runmesh.tracing import caller\n"
        "with TracerProvider().get_tracer('shop').start_as_current_span('order') as span:\n"
        "    print(caller()['traceparent'].split('-')[2] == format(span.get_span_context().span_id, '016x'))\n"
    )
    environment = {**os.environ, "TRACEPARENT": TRACEPARENT}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "True\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: "http://collector:4318"}, ENDPOINT),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ],
)
def test_spans_are_told_where_an_endpoint_is_named(environment: dict[str, str], expected: str | None) -> None:
    assert wanted(environment) == expected


def test_a_protocol_that_there_is_not_is_named() -> None:
    with pytest.raises(Invalid, match=r"OTEL_EXPORTER_OTLP_PROTOCOL.*'gprc'.*grpc"):
        spans("runmesh-resolver", {ENDPOINT: "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "gprc"})

"""Events as CloudEvents 1.0 on NATS: written in binary mode, read in any of three modes.

binary
    the attributes are ``ce-`` headers, the body is the event
structured
    the body is one JSON object that holds the attributes and, under ``data``, the event
plain
    the body is the event and nothing else, so that ``nats pub`` can start a run

W3C ``traceparent`` and ``tracestate`` headers are carried from a command to all that follows from it.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from runmesh.errors import MOST_PROBLEMS, Invalid, Problem, Undecodable, nearest
from runmesh.events import TYPE_PREFIX, Event
from runmesh.flaws import fields_at, message_of

E = TypeVar("E", bound=Event)

TRACE_HEADERS: Final = ("traceparent", "tracestate")
_STRUCTURED: Final = "application/cloudevents+json"
_LONGEST_TEXT: Final = 300
_LONGEST_TRACE: Final = 512
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class UnknownVersion(Undecodable):
    """An event of ours in a version that this program does not know (yet: an upgrade may be rolling)."""


def headers_for(event: Event, *, event_id: str, source: str, trace: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the headers of an event in binary mode."""
    at: datetime | None = vars(event).get("at")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": event.ce_type,
        "ce-source": source,
        "ce-time": _written(at or datetime.now(UTC)),
        "ce-datacontenttype": "application/json",
    }
    if trace:
        headers |= trace
    return headers


@lru_cache(64)
def _written(moment: datetime) -> str:
    """Write a moment down; what happens in one turn of a run shares it."""
    return moment.isoformat()


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the trace headers of a message, to carry on; as W3C has it, a malformed trace is none."""
    if not _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        return {}
    found = {name: headers[name] for name in TRACE_HEADERS if name in headers}
    return {name: value for name, value in found.items() if len(value) <= _LONGEST_TRACE and value.isascii()}


class Envelope(NamedTuple):
    """A message taken apart: the event's JSON, and its CloudEvents type if it says one."""

    body: bytes
    ce_type: str | None


def decode(model: type[E], headers: Mapping[str, str], data: bytes) -> E:
    """Read an event in whichever mode it comes.

    Raises:
        Invalid: it is JSON, but not this event: its first hundred problems, each with path and nearest known field.
        UnknownVersion: it says a version that this program does not know.
        Undecodable: it is no JSON object at all, or another event.
    """
    envelope = open_envelope(headers, data)
    _check_type(model, envelope.ce_type)
    try:
        return model.model_validate_json(envelope.body)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if not _follows(detail)][:MOST_PROBLEMS]
        if details[0]["type"] == "json_invalid":
            raise Undecodable(f"not JSON: {details[0]['msg'].removeprefix('Invalid JSON: ')}") from None
        raise Invalid(*(_problem(model, detail) for detail in details)) from None


def open_envelope(headers: Mapping[str, str], data: bytes) -> Envelope:
    """Find the event inside a message, whichever mode it comes in."""
    if "ce-type" in headers:
        return Envelope(data, headers["ce-type"])
    structured = headers.get("content-type", "").startswith(_STRUCTURED)
    if not structured and b'"specversion"' not in data:
        return Envelope(data, None)
    try:
        document = from_json(data)
    except ValueError as error:
        raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(document, dict) or "specversion" not in document:
        return Envelope(data, None)
    return Envelope(_structured_data(document), str(document.get("type")))


def _structured_data(document: dict[str, object]) -> bytes:
    if "data_base64" in document:
        return _from_base64(document["data_base64"])
    if "data" not in document:
        raise Undecodable("a structured CloudEvent without data")
    return to_json(document["data"])


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise Undecodable("data_base64: should be text")
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Undecodable(f"data_base64: {error}") from None


def _check_type(model: type[Event], ce_type: str | None) -> None:
    """Refuse another event, or another version, of ours; other systems may call their events as they like."""
    if ce_type is None or not ce_type.startswith(TYPE_PREFIX):
        return
    expected = model.type_of(getattr(model, "type_name", ce_type.removeprefix(TYPE_PREFIX).rsplit(".", 1)[0]))
    if ce_type == expected:
        return
    if ce_type.rsplit(".", 1)[0] == expected.rsplit(".", 1)[0]:
        raise UnknownVersion(f"{ce_type!r} is not known here, only {expected!r}")
    raise Undecodable(f"{ce_type!r} where {expected!r} belongs")


def _follows(detail: ErrorDetails) -> bool:
    """Whether a list is too short only because its items are wrong, each of which is a problem of its own."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _problem(model: type[Event], detail: ErrorDetails) -> Problem:
    """Say in our words what pydantic found: where, what, and the nearest known field."""
    path = ".".join(str(part) for part in detail["loc"]) or "body"
    if detail["type"] == "extra_forbidden":
        known = fields_at(model, detail["loc"])
        return Problem(path[:_LONGEST_TEXT], "unknown field", nearest(detail["loc"][-1], known))
    if detail["type"] == "missing":
        return Problem(path, "is required")
    return Problem(path[:_LONGEST_TEXT], f"{_message(detail)}, not {_shown(detail['input'])}")


def _message(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "string_pattern_mismatch":
            return f"should match {detail['ctx']['pattern']}"
        case "too_short" | "string_too_short":
            return "should not be empty"
    return message_of(detail)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"

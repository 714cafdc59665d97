"""The messages of the AsyncAPI document: every event with its CloudEvents headers, and the answers of `mesh.api`."""

import json
from typing import Any, Final

from runmesh.cloudevents import TRACE_HEADERS, headers_for
from runmesh.events import EVENTS, VERSION, Command, Event, RunFact, RunState, TaskFact, TaskState
from runmesh.schemas.examples import EXAMPLES

Document = dict[str, Any]

REPLIES: Final = {"api.submit": "SubmitReply", "api.run": "RunReply", "api.explain": "ExplainReply"}
"""The message that answers a request on each channel."""

_JSON_SCHEMA: Final = "application/schema+json;version=draft-2020-12"
_RUN_ID: Final = {"type": "object", "required": ["run"], "properties": {"run": {"type": "string"}}}
_RUN: Final = {
    "type": "object",
    "required": ["run", "state", "waits"],
    "properties": {
        "run": {"type": "string"},
        "state": {"type": "string"},
        "waits": {
            "type": "object",
            "description": "By block; by the empty name where the run has not begun.",
            "additionalProperties": {"type": "string"},
        },
    },
}
_HEADERS: Final = {
    "ce-specversion": {"const": "1.0"},
    "ce-id": {"description": "The same for an event that is published again."},
    "ce-type": {},
    "ce-source": {"description": "Who says it.", "format": "uri-reference"},
    "ce-time": {"format": "date-time"},
    "ce-datacontenttype": {"const": "application/json"},
    **{name: {"description": "W3C trace context, carried on from the request."} for name in TRACE_HEADERS},
}


def traits() -> Document:
    """Return what all events have in common, and what all answers have."""
    return {
        "cloudEvent": {"headers": _headers(_HEADERS)},
        "reply": {
            "headers": _headers(
                {
                    "Nats-Service-Error": {"description": "Present if the request failed: all that is wrong."},
                    "Nats-Service-Error-Code": {
                        "description": "400: a wrong request; 404: no such thing; 429, 503: try later; 500: our fault."
                    },
                }
            )
        },
    }


def messages() -> Document:
    """Return every message by its name."""
    return {
        **{name: _event(name, model) for name, model in EVENTS.items()},
        "RunQuery": {"summary": "Please show this run.", "payload": _RUN_ID},
        "SubmitReply": _reply("The run's id: the request is queued.", _RUN_ID),
        "RunReply": _reply("The run as it is stored, and what it waits for.", _RUN),
        "ExplainReply": _reply("What would run where, with which configuration, and why.", {"type": "object"}),
    }


def _event(name: str, model: type[Event]) -> Document:
    example = EXAMPLES[name]
    headers: Document = {"properties": {"ce-type": {"enum": _types(model)}}}
    if not issubclass(model, Command):  # a request may come as plain JSON, without any header
        headers["required"] = sorted(headers_for(example, event_id="", source=""))
    return {
        "name": name,
        "summary": (model.__doc__ or "").strip(),
        "headers": {"type": "object", **headers},
        "payload": {"schemaFormat": _JSON_SCHEMA, "schema": {"$ref": f"./events/{name}.{VERSION}.json"}},
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "examples": [{"payload": json.loads(example.to_json())}],
    }


def _types(model: type[Event]) -> list[str]:
    """Return the CloudEvents types that an event may have: facts say their state in it."""
    if model is RunFact:
        return [model.type_of(f"run.{state}") for state in RunState]
    if model is TaskFact:
        return [model.type_of(f"task.{state}") for state in TaskState]
    return [model.type_of(model.type_name)]


def _reply(summary: str, payload: Document) -> Document:
    trait = {"$ref": "#/components/messageTraits/reply"}
    return {"summary": summary, "payload": payload, "traits": [trait]}


def _headers(properties: Document) -> Document:
    return {"type": "object", "properties": {name: {"type": "string", **more} for name, more in properties.items()}}

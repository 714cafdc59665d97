"""Schemas only grow within a major version: those of today against those of every release."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runmesh.events import EVENTS, Command
from runmesh.schemas import documents
from tests.wire.compatible import breaks
from tests.wire.models import RECORDS
from tests.wire.released import VERSIONS, recorded

TODAY = {name: json.loads(text) for name, text in documents().items() if name.endswith(".json")} | {
    f"records/{name}": model.model_json_schema() for name, model in RECORDS.items()
}
RELEASED = [(version, name) for version in VERSIONS for name in recorded(version, "schemas")[0]]


def is_told(name: str) -> bool:
    """Say whether older services read it, too."""
    kind, _, rest = name.partition("/")
    return kind == "records" or (kind == "events" and not issubclass(EVENTS[rest.partition(".")[0]], Command))


@pytest.mark.parametrize(("version", "name"), RELEASED)
def test_a_schema_has_only_grown(version: str, name: str) -> None:
    then = recorded(version, "schemas")[0][name]
    assert name in TODAY, "a new major version stands beside the old one for a while"
    assert breaks(then, TODAY[name], told=is_told(name)) == []


def thing(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def pair(*items: Any) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(items), "minItems": 2, "maxItems": 2}


TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
COLOUR, MORE_COLOURS = {"enum": ["red", "blue"], "type": "string"}, {"enum": ["red", "blue", "green"], "type": "string"}
MAYBE = {"anyOf": [TEXT, {"type": "null"}]}
CLOSED = {"additionalProperties": False}
DEFINED = {"$defs": {"Colour": COLOUR}, **thing(colour={"$ref": "#/$defs/Colour"})}


@pytest.mark.parametrize(
    ("then", "now", "found"),
    [
        (thing(a=TEXT), thing(), ".a: is not known"),
        (thing(a=TEXT), thing("a", a=TEXT), ".a: is required"),
        (thing(), thing("a", a=TEXT), ".a: is required"),
        (thing(a=TEXT), thing(a=WHOLE), ".a: string is refused, integer is wanted"),
        (thing(a=NUMBER), thing(a=WHOLE), ".a: number is refused, integer is wanted"),
        (thing(a=MAYBE), thing(a=TEXT), ".a: null is refused, string is wanted"),
        (thing(a=MAYBE), thing(a={"anyOf": [WHOLE, {"type": "null"}]}), ".a: string is refused"),
        (thing(a=MORE_COLOURS), thing(a=COLOUR), ".a: 'green' is refused"),
        (thing(a=TEXT), thing(a=COLOUR), ".a: only ['red', 'blue'] are accepted"),
        (DEFINED, {**DEFINED, "$defs": {"Colour": {"const": "red", "type": "string"}}}, ".colour: 'blue' is refused"),
        (thing(a=TEXT), thing(a={**TEXT, "maxLength": 9}), ".a: maxLength is 9, was None"),
        (thing(a={**WHOLE, "minimum": 0}), thing(a={**WHOLE, "minimum": 1}), ".a: minimum is 1, was 0"),
        (thing(a={**TEXT, "pattern": "a"}), thing(a={**TEXT, "pattern": "b"}), ".a: pattern is 'b', was 'a'"),
        (thing(a={**WHOLE, "default": 3}), thing(a={**WHOLE, "default": 4}), ".a: the default was 3"),
        (thing(a={"type": "array", "items": NUMBER}), thing(a={"type": "array", "items": TEXT}), ".a[]: number is"),
        (thing(a=pair(TEXT, NUMBER)), thing(a=pair(TEXT, TEXT)), ".a[1]: number is refused"),
        (thing(a={**TEXT, "allOf": [TEXT]}), thing(a={**TEXT, "allOf": [COLOUR]}), ".a: allOf is"),
        ({"type": "object"}, {"type": "object", "propertyNames": COLOUR}, ".?: only ['red', 'blue'] are"),
        (thing(), thing() | CLOSED, "all: unknown fields are refused"),
        ({"type": "object"}, {"type": "object", "additionalProperties": TEXT}, ".*: anything is refused"),
    ],
)
def test_what_breaks_is_found(then: Any, now: Any, found: str) -> None:
    assert [each.startswith(found) for each in breaks(then, now, told=False)] == [True]


@pytest.mark.parametrize(
    ("then", "now", "found"),
    [
        (thing(a=COLOUR), thing(a=MORE_COLOURS), "older readers: .a: 'green' is refused"),
        (thing(a=TEXT), thing(a=MAYBE), "older readers: .a: null is refused"),
        (thing("a", a=TEXT), thing(a=TEXT), "older readers: .a: is required"),
        (thing(a=WHOLE), thing(a=NUMBER), "older readers: .a: number is refused"),
    ],
)
def test_what_only_grows_where_it_is_asked_breaks_where_it_is_told(then: Any, now: Any, found: str) -> None:
    assert breaks(then, now, told=False) == []
    assert [each.startswith(found) for each in breaks(then, now, told=True)] == [True]


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (thing(a=TEXT), thing(a=TEXT, b=WHOLE)),
        (thing(a=TEXT), thing(a={**TEXT, "description": "another one"})),
        (DEFINED, thing(colour=COLOUR)),
    ],
)
def test_what_is_new_and_optional_breaks_nothing(then: Any, now: Any) -> None:
    assert breaks(then, now, told=True) == []


leaf = st.sampled_from(
    [TEXT, NUMBER, WHOLE, COLOUR, MORE_COLOURS, MAYBE, {**WHOLE, "minimum": 0}, {**WHOLE, "minimum": 2}]
)
names = st.sampled_from(["a", "b"])
schemas = st.builds(
    lambda properties, required, closed: (
        thing(*sorted(required & properties.keys()), **properties) | (CLOSED if closed else {})
    ),
    st.dictionaries(names, leaf, max_size=2),
    st.sets(names),
    st.booleans(),
)
values = st.sampled_from(["red", "green", "x", None, -1, 0, 1.5, 3])


@given(schemas, schemas, st.dictionaries(names, values))
def test_whatever_was_accepted_is_accepted_where_nothing_is_found(then: Any, now: Any, document: Any) -> None:
    if Draft202012Validator(then).is_valid(document) and not breaks(then, now, told=False):
        known = {name: value for name, value in document.items() if name in then["properties"]}
        assert Draft202012Validator(now).is_valid(known)

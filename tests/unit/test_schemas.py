"""The published schemas: they are what the code says, they are schemas, and they fit what is really sent."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from pydantic import BaseModel

from runmesh.events import EVENTS, VERSION
from runmesh.executor import load
from runmesh.schemas import documents
from runmesh.schemas.examples import EXAMPLES
from runmesh.subjects import ExecutorType, Form

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "schemas"
SCHEMAS = sorted(name for name in documents() if name.endswith(".json"))
EXECUTORS = {kind: backend.Config for kind in ExecutorType if (backend := load(kind))}


@cache
def schema(name: str) -> Any:
    return json.loads(documents()[name])


@cache
def asyncapi() -> Any:
    return yaml.safe_load(documents()["asyncapi.yaml"])


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


def event_schema(event: str) -> str:
    return f"events/{event}.{VERSION}.json"


def references(document: object) -> Iterator[str]:
    match document:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in document.values():
                yield from references(value)
        case list():
            for value in document:
                yield from references(value)


def test_the_committed_files_are_what_make_schemas_writes() -> None:
    committed = {
        str(path.relative_to(PUBLISHED)): path.read_text(encoding="utf-8")
        for path in PUBLISHED.rglob("*")
        if path.is_file()
    }
    assert sorted(committed) == sorted(documents()), "run `make schemas`, and delete what is no more"
    assert committed == documents(), "run `make schemas`"


def test_there_is_a_schema_for_every_event_and_every_executor() -> None:
    wanted = [*(event_schema(event) for event in EVENTS), *(f"executors/{kind}.json" for kind in EXECUTORS)]
    assert sorted(wanted) == SCHEMAS


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_json_schema_with_identity_title_and_description(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema(name)["title"]
    assert schema(name)["description"]


def test_no_two_have_the_same_identity() -> None:
    assert len({schema(name)["$id"] for name in SCHEMAS}) == len(SCHEMAS)


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_fits_its_schema_and_comes_back_the_same(event: str) -> None:
    example = EXAMPLES[event]
    validator(event_schema(event)).validate(json.loads(example.to_json()))
    assert EVENTS[event].model_validate_json(example.to_json()) == example


@pytest.mark.parametrize("event", EVENTS)
def test_what_the_code_requires_the_schema_requires(event: str) -> None:
    required = {name for name, field in EVENTS[event].model_fields.items() if field.is_required()}
    assert set(schema(event_schema(event))["required"]) == required


def test_a_typo_in_a_request_is_refused_by_the_schema_too() -> None:
    with pytest.raises(ValidationError, match="pipelin"):
        validator(event_schema("RunRequest")).validate({"pipelin": "daily"})


def test_a_fact_may_have_fields_that_its_reader_does_not_know() -> None:
    body = json.loads(EXAMPLES["TaskFact"].to_json()) | {"from_a_later_version": 1}
    validator(event_schema("TaskFact")).validate(body)


@pytest.mark.parametrize(("kind", "config"), EXECUTORS.items())
def test_the_defaults_of_an_executor_fit_its_schema(kind: str, config: type[BaseModel]) -> None:
    validator(f"executors/{kind}.json").validate(config().model_dump(mode="json"))


@pytest.mark.parametrize("kind", EXECUTORS)
def test_every_key_of_a_configuration_is_explained(kind: str) -> None:
    silent = [key for key, value in schema(f"executors/{kind}.json")["properties"].items() if not value["description"]]
    assert silent == []


# --- the AsyncAPI document ----------------------------------------------------------------------------


def test_the_asyncapi_document_is_one_by_asyncapis_own_schema() -> None:
    published = json.loads((ROOT / "tests/fixtures/asyncapi-3.0.0.json").read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(published).iter_errors(asyncapi())] == []


def test_every_reference_leads_somewhere() -> None:
    for reference in references(asyncapi()):
        if reference.startswith("#/"):
            place = asyncapi()
            for step in reference.removeprefix("#/").split("/"):
                place = place[step]
        else:
            assert reference.removeprefix("./") in SCHEMAS


def test_every_subject_is_a_channel_and_its_parameters_are_described() -> None:
    channels = {name: channel for name, channel in asyncapi()["channels"].items() if channel["address"]}
    assert {literal.split(".")[1] for literal in Form} == {name.split(".")[0] for name in channels}
    for channel in channels.values():
        assert re.findall(r"{(\w+)}", channel["address"]) == list(channel["parameters"])


def test_every_event_is_sent_by_some_service() -> None:
    channels, operations = asyncapi()["channels"], asyncapi()["operations"].values()
    for event in EVENTS:
        on = {f"#/channels/{name}" for name, channel in channels.items() if event in channel["messages"]}
        assert on & {operation["channel"]["$ref"] for operation in operations if operation["action"] == "send"}


def test_every_channel_but_the_api_is_kept_by_a_stream() -> None:
    for name, channel in asyncapi()["channels"].items():
        kept = channel.get("x-jetstream", {}).get("streams", [])
        assert bool(kept) != name.startswith("api.")
        assert asyncapi()["x-jetstream"]["streams"].keys() >= set(kept)


def test_messages_carry_the_headers_that_are_published() -> None:
    trait = asyncapi()["components"]["messageTraits"]["cloudEvent"]["headers"]["properties"]
    for event in EVENTS:
        headers = asyncapi()["components"]["messages"][event]["headers"]
        assert trait.keys() >= set(headers.get("required", ()))
        assert EXAMPLES[event].ce_type in headers["properties"]["ce-type"]["enum"]

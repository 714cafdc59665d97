"""What a release said is understood today, and what a later one will say besides is ignored."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from runmesh import subjects
from runmesh.claims import Claim
from runmesh.errors import Invalid
from runmesh.events import Command, ExecuteTask, RunFact, TaskFact
from runmesh.resolver.merging import values
from runmesh.resolver.requested import digest_of
from runmesh.resolver.state import State
from runmesh.resolver.validation import beyond_defaults, config_of, defaults_of
from runmesh.runtime.arguments import parse
from runmesh.subjects import ExecutorType
from tests.wire.messages import Spoken
from tests.wire.models import MODELS, differences, meaning, model_of, read
from tests.wire.released import VERSIONS, recorded, view_of

MESSAGES = [
    pytest.param(row, id=f"{version}-{number}-{row['subject']}")
    for version in VERSIONS
    for number, row in enumerate(recorded(version, "messages"))
]
RUNS = [pytest.param(row, id=f"{version}-{row['run']}") for version in VERSIONS for row in recorded(version, "runs")]
PROJECT = "features"
NEW = "of_a_later_version"


@pytest.mark.parametrize("row", MESSAGES)
def test_a_message_of_a_release_means_what_it_meant(row: dict[str, Any]) -> None:
    assert differences(row["means"], meaning(_read(row))) == []


@pytest.mark.parametrize("row", RUNS)
def test_a_run_of_a_release_looks_as_it_did(row: dict[str, Any]) -> None:
    now = view_of(row["run"], map(Spoken.of, row["facts"]))
    assert differences(row["view"], now) == []


@pytest.mark.parametrize("row", MESSAGES)
def test_keys_names_and_types_are_made_as_they_were(row: dict[str, Any]) -> None:
    said, subject, headers = _read(row), row["subject"], row["headers"]
    match said:
        case ExecuteTask() | TaskFact():
            assert said.key == subjects.task_key(said.run, said.block, said.attempt, said.resubmission)
            assert subject.endswith(
                f".{said.executor_type}.{said.pool}.{PROJECT}.{said.run}.{subjects.token(said.block)}"
            )
        case RunFact():
            assert subject == subjects.run_fact(said.state, said.project, said.pipeline, said.run)
        case State() if said.digest:
            assert subject == f"$KV.runs.{subjects.run_state(said.run)}"
        case Claim(fact=TaskFact() as fact):
            assert subject == f"$KV.claims.{subjects.claim(fact.executor_type, fact.pool, fact.key)}"
    if isinstance(said, TaskFact | RunFact):
        assert (headers["ce-id"], headers["ce-type"]) == (said.ce_id, said.ce_type)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_that_comes_again_is_still_the_same(version: str) -> None:
    rows = recorded(version, "messages")
    asked = [row for row in rows if row["subject"].startswith(("mesh.request.run.", "mesh.request.retry."))]
    requests = {row["means"]["id"]: json.loads(row["text"]) for row in asked}
    states = [said for row in rows if isinstance(said := _read(row), State) and said.run in requests]
    assert any(state.retry_of for state in states)
    assert {state.run: digest_of(PROJECT, requests[state.run]) for state in states} == {
        state.run: state.digest for state in states
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_todays_jobs_read_the_command_lines_of_a_release(version: str) -> None:
    commands = [said for row in recorded(version, "messages") if isinstance(said := _read(row), ExecuteTask)]
    lines = [command.command[1:] for command in commands if command.command[0] == "runmesh-run"]
    assert len(lines) > 10
    for line in lines:
        assert parse(line).project_path == line[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_can_be_said_is_recorded(version: str) -> None:
    assert {_model(row) for row in recorded(version, "messages")} == set(MODELS.values())


@pytest.mark.parametrize("row", MESSAGES)
def test_fields_of_a_later_version_are_ignored_in_all_that_is_told_and_refused_where_it_is_asked(
    row: dict[str, Any],
) -> None:
    model, message = _model(row), Spoken.of(row)
    body = json.loads(_read(row).model_dump_json(exclude_unset=True))
    later = json.dumps(_with_new_fields(body, schema := model.model_json_schema(), schema)).encode()
    assert later.count(NEW.encode()) > 0
    if issubclass(model, Command):
        with pytest.raises(Invalid, match="unknown field"):
            read(model, message.headers, later)
    else:
        assert meaning(read(model, message.headers, later)) == meaning(_read(row))


@pytest.mark.parametrize("kind", ExecutorType)
def test_a_worker_gets_no_key_that_it_may_not_know_unless_somebody_wrote_it(kind: str) -> None:
    model, defaults = config_of(kind), values(defaults_of(kind))
    assert model is not None
    written = {"start_timeout": 5.0, "project_path": "/shop"}
    assert beyond_defaults(kind, defaults) == {}
    assert beyond_defaults(kind, defaults | written) == written
    assert model.model_validate(written) == model.model_validate(defaults | written)


def _model(row: dict[str, Any]) -> type[BaseModel]:
    found = model_of(row["subject"])
    assert found is not None
    return found


def _read(row: dict[str, Any]) -> BaseModel:
    message = Spoken.of(row)
    return read(_model(row), message.headers, message.data)


def _with_new_fields(value: Any, schema: Any, root: Any) -> Any:
    """Add a field to every object whose fields have names, as a later version may."""
    for branch in schema.get("anyOf", [schema]):
        if "$ref" in branch:
            return _with_new_fields(value, root["$defs"][branch["$ref"].rpartition("/")[2]], root)
        match value:
            case dict() if "properties" in branch:
                known = {
                    key: _with_new_fields(each, branch["properties"].get(key, {}), root) for key, each in value.items()
                }
                return {**known, NEW: {"deep": [1]}}
            case dict() if isinstance(branch.get("additionalProperties"), dict):
                inner = branch["additionalProperties"]
                return {key: _with_new_fields(each, inner, root) for key, each in value.items()}
            case list() if "items" in branch:
                return [_with_new_fields(each, branch["items"], root) for each in value]
    return value

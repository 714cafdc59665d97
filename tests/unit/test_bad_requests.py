"""What somebody is told whose request can't be read, or is wrong."""

import json
from typing import Any

import pytest

from runmesh import subjects
from runmesh.bus import Message
from runmesh.cloudevents import decode
from runmesh.errors import Invalid, Undecodable
from runmesh.events import CancelRequest, Command, RetryRequest, RunRequest, RunState
from runmesh.projects import Block, Pipeline
from runmesh.resolver.plan import repeatable
from runmesh.resolver.refusals import Rules, of_request
from runmesh.resolver.requested import document_of
from runmesh.resolver.selection import unknown_blocks
from runmesh.resolver.validation import validate
from tests.unit.plans import begun, plan_of


def unreadable(body: bytes, **headers: str) -> str:
    with pytest.raises(Undecodable) as refused:
        document_of(Message(subjects.request("run", "shop"), body, headers))
    return str(refused.value)


def told(model: type[Command], request: dict[str, Any]) -> list[str]:
    with pytest.raises(Invalid) as refused:
        decode(model, {}, json.dumps(request).encode())
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"pipeline": "café"}'.encode("latin-1"), "not UTF-8: byte 17"),
        ('{"pipeline": "one"}'.encode("utf-16"), "not UTF-8: byte 0"),
        (b'{"pipeline": "\xed\xa0\x80"}', "not UTF-8: byte 14"),
        (b'\xef\xbb\xbf{"pipeline": "one"}', "not JSON: it begins with a byte order mark"),
        (b'{"timeout": ' + b"9" * 5000 + b"}", "not JSON that can be read: a number is too long"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON that can be read: nested too deeply"),
        (b"[]", "a request is a JSON object, not a list"),
        (b"null", "a request is a JSON object, not empty"),
        (b'"one"', "a request is a JSON object, not text"),
    ],
)
def test_what_cannot_be_read_is_told_why(body: bytes, expected: str) -> None:
    assert unreadable(body) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({}, "a structured CloudEvent without data"),
        ({"pipeline": "one"}, "a structured CloudEvent without data"),
        ({"data": json.dumps({"pipeline": "one"})}, "a request is a JSON object, not text"),
        ({"data_base64": None}, "data_base64: should be text"),
        ({"data_base64": 5}, "data_base64: should be text"),
        ({"data_base64": "!!"}, "data_base64: Only base64 data is allowed"),
    ],
)
def test_a_cloud_event_without_a_request_in_it_is_told_so(event: dict[str, object], expected: str) -> None:
    assert unreadable(json.dumps({"specversion": "1.0", **event}).encode()) == expected


@pytest.mark.parametrize("blocks", ["only", 5, True])
def test_blocks_of_a_run_are_a_list_of_names_or_say_more(blocks: object) -> None:
    (problem,) = told(RunRequest, {"pipeline": "one", "blocks": blocks})
    assert problem == f"blocks: should be a list of names, or an object with `names`, not {blocks!r}"


def test_of_a_list_only_what_is_wrong_with_its_items_is_told() -> None:
    assert told(RunRequest, {"pipeline": "one", "blocks": [1]}) == ["blocks.names.0: should be a valid string, not 1"]
    assert told(RunRequest, {"pipeline": "one", "blocks": []}) == ["blocks.names: should not be empty, not []"]


def test_a_cancel_of_no_blocks_is_none() -> None:
    assert told(CancelRequest, {"run": "r1", "blocks": []}) == ["blocks: should not be empty, not []"]


@pytest.mark.parametrize("partition", ["a/../../b", "a/..", "a/./b", "a/."])
def test_a_partition_leads_nowhere_else(partition: str) -> None:
    request = RunRequest(pipeline="one", execution_partition=partition)
    (problem,) = of_request(request, Rules())
    assert str(problem).startswith(f"request: execution_partition: {partition!r} would leave the run's directory")


@pytest.mark.parametrize("partition", ["r1", "7/20261123T082115_000001", "a=1/b=2:3", "x" * 200, "a..b/c.d"])
def test_a_partition_may_have_parts(partition: str) -> None:
    assert list(of_request(RunRequest(pipeline="one", execution_partition=partition), Rules())) == []


NAMES = tuple(f"onyl{number}" for number in range(1000))


def test_of_countless_unknown_blocks_the_first_hundred_are_told() -> None:
    pipeline = Pipeline("one", blocks={"only": Block("only", "custom")})
    blocks = RunRequest.model_validate({"pipeline": "one", "blocks": list(NAMES)})
    configs = RunRequest.model_validate({"pipeline": "one", "block_config": {name: {} for name in NAMES}})
    assert [len(unknown_blocks(pipeline, request)) for request in (blocks, configs)] == [100, 100]


def test_of_countless_blocks_that_a_retry_names_in_vain_the_first_hundred_are_told() -> None:
    plan = plan_of({"only": []})
    failed = begun(plan).model_copy(update={"state": RunState.FAILED})
    with pytest.raises(Invalid) as refused:
        repeatable(plan, failed, RetryRequest(run="r1", blocks=NAMES))
    assert len(refused.value.problems) == 100


def test_of_countless_unknown_keys_of_a_configuration_the_first_hundred_are_told() -> None:
    _, faults = validate("local_python", dict.fromkeys(NAMES, 1))
    assert len(faults) == 100

"""What a dead letter's replay publishes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runmesh.cli.dead import again_of
from runmesh.events import DeadLetter

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
REQUEST = {"pipeline": "one", "id": "r1"}


def letter(subject: str = "mesh.request.run.shop", reason: str = "poison", **fields: Any) -> DeadLetter:
    given = {"error": "x", "headers": TRACE, "body": json.dumps(REQUEST), "encoding": "utf-8", "deliveries": 3}
    return DeadLetter(subject=subject, reason=reason, at=datetime.now(UTC), **{**given, **fields})


@pytest.mark.parametrize("verb", ["run", "retry"])
def test_a_poisoned_request_asks_for_another_run_since_its_own_is_over(verb: str) -> None:
    again = again_of(letter(f"mesh.request.{verb}.shop"), 7)
    assert (json.loads(again.body), again.headers, again.run) == (
        {**REQUEST, "id": "r1-replay-7"},
        TRACE,
        "r1-replay-7",
    )


def test_so_does_one_inside_a_cloudevent() -> None:
    event = {"specversion": "1.0", "id": "e", "source": "/x", "type": "orders.placed", "data": REQUEST}
    again = again_of(letter(body=json.dumps(event)), 7)
    assert json.loads(again.body)["id"] == "r1-replay-7"


def test_the_longest_id_still_makes_one() -> None:
    again = again_of(letter(body=json.dumps({"id": "x" * 64})), 10**12)
    assert again.run is not None
    assert len(again.run) <= 64


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "undecodable"},
        {"subject": "mesh.request.cancel.shop"},
        {"subject": "mesh.task.completed.k8s.default.shop.r1.x"},
        {"body": '{"pipeline": "one"}'},
        {"body": "[1]"},
        {"body": "no json"},
    ],
)
def test_everything_else_comes_back_as_it_was(changes: dict[str, str]) -> None:
    dead = letter(**changes, headers={**TRACE, "Nats-Msg-Id": "x"})
    assert again_of(dead, 7) == (dead.body.encode(), TRACE, None)

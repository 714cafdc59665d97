"""Whatever is published on REQUESTS: each message ends as exactly one run or one dead letter, and nothing stops.

A message is made by hypothesis and sent as bytes, so that no client library tidies it up. Examples come in batches:
one look at the server judges a whole batch.
"""

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from runmesh import filters, subjects
from runmesh.bus import Bus, Message, connect, provision
from runmesh.embedded import embedded
from runmesh.events import FINAL_RUN_STATES, CancelRequest, RetryRequest, RunRequest
from tests.eventually import eventually
from tests.integration.raw import Raw, framed, raw
from tests.shop import (
    answering,
    ask,
    resolving,
    settings_for,
    states,
    write_pipeline,
    write_project,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRESH = "<fresh>"
"""Stands for an id that no run has yet."""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

# --- what may come ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One message: a body, or a document that becomes one when its id is known."""

    body: bytes | dict[str, Any]
    verb: str = "run"
    project: bytes = b"shop"
    headers: bytes | None = None
    mode: str = "plain"


@dataclass
class Sent:
    """A request as it was published: a run that it may have started has its id, or one that names its sequence."""

    request: Request
    sequence: int
    run: str | None

    def started(self, runs: Mapping[str, list[str]]) -> list[str]:
        return [run for run in runs if run == self.run or (self.run is None and _names(run, self.sequence))]


texts = st.text(max_size=20) | st.sampled_from(["", "..", "a.b", "*", ">", "\0", "é", "x" * 300, "one", "only", FRESH])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
commands = st.fixed_dictionaries(
    {"uuid": texts, "command": st.lists(texts, max_size=2) | anything},
    optional={"environment": st.dictionaries(texts, texts | anything), "image": texts, "upstream_blocks": anything},
)
document = st.fixed_dictionaries({"blocks": st.lists(commands, max_size=2)}) | st.fixed_dictionaries(
    {}, optional={"uuid": texts, "type": texts, "blocks": anything, "name": texts}
)
fields: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "run": {
        "id": st.just(FRESH),
        "pipeline": st.just("one") | document,
        "blocks": st.just(["only"]) | st.fixed_dictionaries({"names": st.lists(texts, max_size=2)}),
        "executor_type": st.sampled_from(["local_python", "local_python_force", "k8s"]),
        "executor_config": st.dictionaries(st.sampled_from(["k8s", "local_python"]), st.dictionaries(texts, anything)),
        "block_config": st.dictionaries(st.just("only"), st.dictionaries(st.just("kill_grace"), st.integers())),
        "runtime": st.sampled_from(["native", "mage"]),
        "run_pipeline_in_one_process": st.booleans(),
        "variables": st.dictionaries(texts, anything, max_size=2),
        "execution_partition": texts,
        "execution_date": st.datetimes().map(str),
        "trigger_name": texts,
        "event": st.dictionaries(texts, anything, max_size=2),
        "allow_blocks_to_fail": st.booleans(),
        "timeout": st.floats(min_value=0),
        "timeout_status": st.sampled_from(["failed", "cancelled"]),
        "labels": st.dictionaries(texts, texts, max_size=2),
    },
    "cancel": {"run": texts, "blocks": st.lists(texts, max_size=2), "reason": texts, "id": st.just(FRESH)},
    "retry": {"run": texts, "blocks": st.lists(texts, max_size=2), "reason": texts, "id": st.just(FRESH)},
}
assert [set(fields[verb]) for verb in ("run", "cancel", "retry")] == [
    set(model.model_fields) for model in (RunRequest, CancelRequest, RetryRequest)
]


@st.composite
def near_valid(draw: st.DrawFn) -> Request:
    """A request with some fields right, perhaps one wrong, and perhaps one misspelt."""
    verb = draw(st.sampled_from(sorted(fields)))
    known = fields[verb]
    required = "run" if "run" in known else "pipeline"
    names = [required, *draw(st.lists(st.sampled_from(sorted(known)), max_size=3))]
    made = {name: draw(known[name]) for name in names}
    if draw(st.booleans()):
        made[draw(st.sampled_from([*known, "pipelin", "", "x"]))] = draw(anything)
    return Request(made, verb)


def header_lines(names: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    line = st.tuples(names, st.binary(max_size=30)).map(
        lambda pair: b": ".join(pair).replace(b"\r", b"").replace(b"\n", b"")
    )
    return st.lists(line, max_size=4).map(lambda lines: b"".join(b"\r\n" + line for line in lines))


header_names = st.binary(max_size=8) | st.sampled_from(
    [b"ce-type", b"ce-id", b"CE-SPECVERSION", b"ce-source", b"content-type", b"traceparent", b"tracestate", b"Status"]
)
statuses = st.sampled_from([b"NATS/1.0", b"NATS/1.0 503", b"NATS/1.0 100 Idle Heartbeat", b"NATS/1.1", b""])
headers = st.tuples(statuses, header_lines(header_names)).map(lambda parts: b"".join(parts) + b"\r\n\r\n")
harmless = headers.filter(lambda block: b"nats-" not in block.lower())
"""Headers that the server itself does not obey."""
modes = st.sampled_from(["plain", "binary", "structured", "base64"])
projects = st.binary(min_size=1, max_size=30).map(lambda name: re.sub(rb"[ \t\r\n.]|^[*>]$", b"_", name))
"""Whatever the server takes as one token of a subject."""


# --- the mesh --------------------------------------------------------------------------------------------


@dataclass
class Mesh:
    """A resolver that must outlive all of it, and somebody who completes what it orders."""

    bus: Bus
    wire: Raw
    outcomes: Counter[str] = field(default_factory=Counter)

    async def judge(self, requests: list[Request]) -> None:
        """Publish a batch, and look what became of each message."""
        sent = await self._send(requests)
        await self._settled()
        runs = await self._runs()
        dead = {_sequence(letter): letter async for letter in self.bus.replay(subjects.DEAD, "mesh.dead.>")}
        for item in sent:
            self._check(item, [runs[run][0] for run in item.started(runs)], dead.get(item.sequence))
        for run, history in runs.items():
            assert sum(state in FINAL_RUN_STATES for state in history) == 1, (run, history)
        await self._works()
        for stream in (subjects.FACTS, subjects.DEAD):
            await self.bus.api(f"STREAM.PURGE.{stream}")

    async def _send(self, requests: list[Request]) -> list[Sent]:
        last = (await self.bus.stream_info(subjects.REQUESTS)).last
        ids = [str(ULID()) for _ in requests]
        await self.wire.send(*(message(request, run) for request, run in zip(requests, ids, strict=True)))

        async def stored() -> bool:
            return (await self.bus.stream_info(subjects.REQUESTS)).last == last + len(requests)

        await eventually(stored)
        return [
            Sent(request, last + place, run if _takes_id(request) else None)
            for place, (request, run) in enumerate(zip(requests, ids, strict=True), 1)
        ]

    async def _settled(self) -> None:
        async def nothing_is_left() -> bool:
            waiting = (await self.bus.stream_info(subjects.REQUESTS)).messages
            return not waiting and not await self.bus.bucket(subjects.RUNS).keys("active.*")

        await eventually(nothing_is_left)

    async def _runs(self) -> dict[str, list[str]]:
        runs: dict[str, list[str]] = {}
        async for fact in self.bus.replay(subjects.FACTS, "mesh.run.>"):
            runs.setdefault(fact.subject.split(".")[-1], []).append(fact.subject.split(".")[2])
        return runs

    def _check(self, sent: Sent, began: list[str], letter: Message | None) -> None:
        reason = json.loads(letter.data)["reason"] if letter else None
        assert reason != "poison", json.loads(letter.data)["error"] if letter else None
        if sent.request.verb == "cancel" and not letter:  # it may have been for any run
            self.outcomes["cancel"] += 1
            return
        became = began + ([reason] if reason else [])
        assert len(became) == 1, (sent, became)
        self.outcomes[became[0]] += 1

    async def _works(self) -> None:
        run = str(ULID())
        await ask(self.bus, "run", {"pipeline": "one", "id": run})

        async def completed() -> bool:
            return "completed" in await states(self.bus, run)

        await eventually(completed)


def message(request: Request, run: str) -> bytes:
    """Put a request on the wire."""
    body, lines = request.body, request.headers
    if isinstance(body, dict):
        event = {name: run if value == FRESH else value for name, value in body.items()}
        if isinstance(given := event.get("id"), str) and subjects.RUN_ID.fullmatch(given):
            event["id"] = run  # whichever it is, no other request may have it
        body, lines = enveloped(event, request)
    return framed(b"mesh.request.%s.%s" % (request.verb.encode(), request.project), body, lines)


def enveloped(event: dict[str, Any], request: Request) -> tuple[bytes, bytes | None]:
    """Return body and headers of an event in one of CloudEvents' modes, or as it is."""
    body = json.dumps(event).encode()
    attributes = {"specversion": "1.0", "id": "1", "source": "/fuzz", "type": f"dev.runmesh.request.{request.verb}.v1"}
    if request.mode == "plain":
        return body, request.headers
    if request.mode == "binary":
        lines = "".join(f"ce-{name}: {value}\r\n" for name, value in attributes.items())
        return body, f"NATS/1.0\r\n{lines}\r\n".encode()
    data = {"data": event} if request.mode == "structured" else {"data_base64": b64encode(body).decode()}
    return json.dumps({**attributes, **data}).encode(), None


def _takes_id(request: Request) -> bool:
    """Say whether the run of a request gets the id that was made for it."""
    given = request.body.get("id") if isinstance(request.body, dict) else None
    return isinstance(given, str) and (given == FRESH or subjects.RUN_ID.fullmatch(given) is not None)


def _names(run: str, sequence: int) -> bool:
    try:
        return int.from_bytes(ULID.from_str(run).bytes[6:], "big") == sequence
    except ValueError:
        return False


def _sequence(letter: Message) -> int:
    return int(letter.headers["ce-id"].split(".")[3])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    directory: Path = tmp_path_factory.mktemp("fuzz")
    write_pipeline(write_project(directory / "shop"), "one", {"only": []})
    async with (
        embedded() as server,
        raw(server) as wire,
        connect(server.url, name="asks", token=server.token) as bus,
        connect(server.url, name="resolves", token=server.token) as resolvers,
        connect(server.url, name="answers", token=server.token) as workers,
    ):
        await provision(bus, ack_wait=60)  # between two tests the module's loop stands still
        async with (
            resolving(resolvers, settings_for(directory)),
            answering(workers),
            answering(workers, "k8s"),
        ):
            yield Mesh(bus, wire)


def batches(of: st.SearchStrategy[Request]) -> st.SearchStrategy[list[Request]]:
    return st.lists(of, min_size=20, max_size=30)


few = settings(max_examples=10)

# --- the property ----------------------------------------------------------------------------------------


@few
@given(batches(st.binary(max_size=60).map(Request) | anything.map(lambda value: Request(json.dumps(value).encode()))))
async def test_any_bytes_and_any_json(mesh: Mesh, requests: list[Request]) -> None:
    await mesh.judge(requests)


@settings(max_examples=50)
@given(batches(near_valid()))
async def test_requests_that_are_nearly_right(mesh: Mesh, requests: list[Request]) -> None:
    await mesh.judge(requests)


@few
@given(batches(st.builds(Request, near_valid().map(lambda request: request.body), headers=harmless, mode=modes)))
async def test_any_headers_and_every_mode(mesh: Mesh, requests: list[Request]) -> None:
    await mesh.judge(requests)


@few
@given(batches(st.builds(Request, st.just({"pipeline": "one"}), project=projects)))
async def test_any_project_in_the_subject(mesh: Mesh, requests: list[Request]) -> None:
    await mesh.judge(requests)


@pytest.mark.parametrize("mode", ["plain", "binary", "structured", "base64"])
async def test_a_request_starts_a_run_in_every_mode(mesh: Mesh, mode: str) -> None:
    before = mesh.outcomes["accepted"]
    await mesh.judge([Request({"id": FRESH, "pipeline": "one"}, mode=mode)])
    assert mesh.outcomes["accepted"] == before + 1


async def test_the_trace_of_a_request_is_on_all_that_follows(mesh: Mesh) -> None:
    run = str(ULID())
    headers = {"traceparent": TRACE, "tracestate": "vendor=1"}
    await ask(mesh.bus, "run", {"id": run, "pipeline": "one", "executor_type": "ecs"}, headers=headers)

    async def command() -> Message | None:
        return await mesh.bus.last("EXECUTE_ecs", subjects.execute("ecs", "default", "shop", run, "only"))

    ordered = await eventually(command)
    await ask(mesh.bus, "cancel", {"run": run})

    async def cancelled() -> bool:
        return "cancelled" in await states(mesh.bus, run)

    await eventually(cancelled)
    facts = [fact for of in filters.facts_of_run(run) async for fact in mesh.bus.replay(subjects.FACTS, of)]
    assert len(facts) >= 6
    for event in (ordered, *facts):
        assert (event.headers["traceparent"], event.headers["tracestate"]) == (TRACE, "vendor=1")


async def test_a_trace_that_is_none_is_not_carried_on(mesh: Mesh) -> None:
    for headers in ({"traceparent": "00-1"}, {"traceparent": TRACE + "-" + "x" * 600}, {"tracestate": "vendor=1"}):
        run = str(ULID())
        await ask(mesh.bus, "run", {"id": run, "pipeline": "one"}, headers=headers)
        first = await eventually(partial(first_fact, mesh.bus, run))
        assert not {"traceparent", "tracestate"} & first.headers.keys()


async def first_fact(bus: Bus, run: str) -> Message | None:
    facts = [fact async for fact in bus.replay(subjects.FACTS, filters.facts_of_run(run)[0])]
    return facts[0] if facts else None

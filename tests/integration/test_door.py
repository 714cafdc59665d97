"""The synchronous door, as any NATS client finds it: `nats req mesh.api.submit.shop '{"pipeline": "one"}'`."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from runmesh import subjects
from runmesh.bus import Bus
from tests.conftest import Address
from tests.eventually import eventually
from tests.shop import answering, ask, resolving, run_facts, settings_for, states, write_pipeline, write_project


@pytest.fixture
async def client(nats_address: Address) -> AsyncIterator[Client]:
    """A client that knows nothing of Runmesh."""
    client = await nats.connect(nats_address.url, token=nats_address.token)
    yield client
    await client.close()


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    shop = write_project(tmp_path / "shop")
    write_pipeline(shop, "one", {"only": []})
    write_pipeline(shop, "far", {"remote": []}, executor_type="k8s")
    write_pipeline(shop, "limited", {"only": []}, concurrency_config={"pipeline_run_limit": 1})
    return tmp_path


@asynccontextmanager
async def open_door(bus: Bus, projects: Path) -> AsyncIterator[None]:
    async with (
        resolving(bus, settings_for(projects, allow_inline=False)) as resolver,
        bus.serve("runmesh-resolver", "1.0.0", "test", resolver.endpoints()),
    ):
        yield


async def req(client: Client, verb: str, body: Any, project: str = "shop") -> tuple[str, Any]:
    """Ask as `nats req` does; return the error's code (none if it went well) and the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.request(f"mesh.api.{verb}.{project}", data, timeout=60)
    return (answer.headers or {}).get("Nats-Service-Error-Code", ""), json.loads(answer.data)


async def test_a_run_is_submitted_and_told_of_with_an_answer_at_once(bus: Bus, projects: Path, client: Client) -> None:
    async with open_door(bus, projects), answering(bus):
        code, answer = await req(client, "submit", {"pipeline": "one"})
        assert code == ""
        await eventually(lambda: ended(client, answer["run"]))
    assert (await states(bus, answer["run"]))[-1] == "completed"


async def ended(client: Client, run: str) -> bool:
    code, answer = await req(client, "run", {"run": run})
    return code == "" and answer["state"] == "completed" and answer["waits"] == {}


async def test_what_is_asked_twice_under_one_id_is_one_run_and_another_body_is_refused(
    bus: Bus, projects: Path, client: Client
) -> None:
    async with open_door(bus, projects), answering(bus):
        await ask(bus, "run", {"pipeline": "one", "id": "r1"})
        await eventually(lambda: ended(client, "r1"))
        for _ in range(2):
            assert await req(client, "submit", {"pipeline": "one", "id": "r1"}) == ("", {"run": "r1"})
        code, answer = await req(client, "submit", {"pipeline": "far", "id": "r1"})
        assert (code, answer["errors"][0]["path"]) == ("400", "id")
        await eventually(lambda: emptied(bus))
    assert [str(fact.state) for fact in await run_facts(bus, "r1")].count("accepted") == 1
    assert (await bus.stream_info(subjects.DEAD)).messages == 0


async def test_the_id_of_another_projects_run_is_refused_even_if_that_was_only_cancelled(
    bus: Bus, projects: Path, client: Client
) -> None:
    async with open_door(bus, projects):
        for project in ("shop", "other"):
            await ask(bus, "cancel", {"run": f"of-{project}"}, project=project)
        await eventually(lambda: emptied(bus))
        assert await req(client, "submit", {"pipeline": "one", "id": "of-shop"}) == ("", {"run": "of-shop"})
        assert (await req(client, "submit", {"pipeline": "one", "id": "of-other"}))[0] == "400"


async def emptied(bus: Bus) -> bool:
    return (await bus.stream_info(subjects.REQUESTS)).messages == 0


async def test_why_a_run_waits_is_told(bus: Bus, projects: Path, client: Client) -> None:
    async with open_door(bus, projects):
        for body in ({"pipeline": "far", "id": "r1"}, {"pipeline": "limited", "id": "r2"}):
            await req(client, "submit", body)
        assert await eventually(lambda: waiting(client, "r1")) == {
            "remote": "for a k8s worker of pool 'default': none has reported"
        }
        await eventually(lambda: waiting(client, "r2"))
        await req(client, "submit", {"pipeline": "limited", "id": "r3"})
        await eventually(lambda: limited(client, "r3"))


async def waiting(client: Client, run: str) -> dict[str, str]:
    code, answer = await req(client, "run", {"run": run})
    assert code == ""
    found: dict[str, str] = answer["waits"]
    return found


async def test_explain_tells_what_would_run_and_stores_nothing(bus: Bus, projects: Path, client: Client) -> None:
    async with open_door(bus, projects):
        code, answer = await req(client, "explain", {"pipeline": "far"})
        assert code == ""
        assert list(answer["blocks"]) == ["remote"]
    assert (await bus.stream_info(subjects.REQUESTS)).last == 0


async def limited(client: Client, run: str) -> bool:
    return "pipeline_run_limit" in (await waiting(client, run)).get("", "")


@pytest.mark.parametrize(
    ("verb", "body", "code", "said"),
    [
        ("submit", b"nonsense", "400", "not JSON"),
        ("submit", b"[]", "400", "should be"),
        ("submit", {"pipelin": "one"}, "400", "did you mean 'pipeline'?"),
        ("submit", {"pipeline": "won"}, "404", "did you mean 'one'?"),
        ("submit", {"pipeline": {"blocks": []}}, "400", "RUNMESH_ALLOW_INLINE"),
        ("submit", {"pipeline": "one", "variables": {"x": "x" * 1_000_000}}, "400", ""),
        ("explain", b"\xff", "400", "not JSON"),
        ("explain", {"pipeline": "won"}, "404", "did you mean 'one'?"),
        ("run", b"nonsense", "400", '"run": "<id>"'),
        ("run", {"run": "nobody"}, "404", "may be in the queue"),
        ("run", {"run": "../x"}, "404", "has no run"),
        ("run", {"run": ["r"]}, "404", "has no run"),
    ],
)
async def test_what_is_wrong_is_answered_with_all_that_is_wrong(
    bus: Bus, projects: Path, client: Client, verb: str, body: Any, code: str, said: str
) -> None:
    async with open_door(bus, projects):
        answer = await req(client, verb, body)
        assert answer[0] == code, answer
        assert said in json.dumps(answer[1]["errors"], ensure_ascii=False).replace('\\"', '"')
        code, answer = await req(client, "submit", {"pipeline": "one"}, project="nowhere")
        assert (code, answer["errors"][0]["hint"]) == ("404", "known: shop")
    assert (await bus.stream_info(subjects.REQUESTS)).last == 0


async def test_who_wants_no_answer_is_served_all_the_same(bus: Bus, projects: Path, client: Client) -> None:
    async with open_door(bus, projects), answering(bus):
        await client.publish("mesh.api.explain.shop", b"nonsense")
        await client.publish("mesh.api.submit.shop", b'{"pipeline": "one", "id": "r1"}')
        await eventually(lambda: ended(client, "r1"))


async def test_an_answer_that_no_message_holds_is_an_error_and_ends_no_connection(bus: Bus, client: Client) -> None:
    async def endless(_: object) -> bytes:
        return b"x" * (bus.payload_limit + 1)

    async with bus.serve("runmesh-resolver", "1.0.0", "test", {"explain": ("mesh.api.explain.*", endless)}):
        code, answer = await req(client, "explain", {})
        assert (code, answer["errors"][0]["message"]) == (
            "400",
            "the answer: 1048577 bytes exceed the server's limit of 1048576",
        )
        assert bus.connected

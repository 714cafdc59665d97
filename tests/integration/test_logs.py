"""What services log: each outcome once, each line about something, and no secret anywhere."""

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script
from tests.integration.worker_mesh import mesh_on
from tests.shop import answering, ask, dead_letters, resolving, run_facts, settings_for, write_pipeline, write_project

SECRETS: Final = {
    "variable": "variable-of-a-request-41",
    "rejected": "value-of-a-wrong-field-42",
    "mistyped": "value-of-a-wrong-type-43",
    "environment": "environment-of-a-task-44",
    "worker": "environment-of-a-worker-45",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
    "sas": "c2lnbmF0dXJlLW9mLWEtU0FT",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "job": "what-a-job-says-46",
    "body": "body-that-is-no-json-47",
    "wrong_token": "token-of-nobody-48",
    "library": "unlooked-like",
}
LEAKY: Final = "tests.integration.leaky"
SAID: Final = (
    f"403 for https://store/blob?sv=1&sig={SECRETS['sas']} with Authorization: Bearer {SECRETS['jwt']}, "
    f"key {SECRETS['aws']} aws_secret_access_key={SECRETS['aws_secret']}; password "
)


async def ends(bus: Bus, run: str, state: str) -> None:
    async def ended() -> bool:
        facts = await run_facts(bus, run)
        assert state in {fact.state for fact in facts}, [fact.reason for fact in facts]
        return True

    await eventually(ended)


@asynccontextmanager
async def service(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[list[str]]:
    """Run one for the length of the block; what it wrote is there afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    wrote: list[str] = []
    reading = asyncio.create_task(_read(process.stdout, wrote))
    try:
        yield wrote
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await asyncio.gather(process.wait(), reading)
        print(*wrote, sep="\n")  # noqa: T201 - shown if the test fails


async def _read(stream: asyncio.StreamReader, wrote: list[str]) -> None:
    while line := await stream.readline():
        wrote.append(line.decode().rstrip())


async def metrics_of(wrote: list[str]) -> str:
    def port() -> int | None:
        ports = [json.loads(line).get("health_port") for line in wrote if line.startswith("{")]
        return next(filter(None, ports), None)

    reader, writer = await asyncio.open_connection("127.0.0.1", await eventually(port))
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
def environment(tmp_path: Path, nats_server: Server, collector: list[bytes]) -> dict[str, str]:
    """Of services that log all they can."""
    return {
        "RUNMESH_NATS_URL": nats_server.url.replace("//", f"//{nats_server.token}@"),
        "RUNMESH_PROJECTS_DIR": str(tmp_path),
        "RUNMESH_STATE_DIR": str(tmp_path / "state"),
        "RUNMESH_ALLOW_OVERRIDES": "true",
        "RUNMESH_LOG_LEVEL": "debug",
        "RUNMESH_LOG_FORMAT": "json",
        "RUNMESH_HEALTH_PORT": "0",
        "RUNMESH_ACK_WAIT": "20",
        "LEAKY_SAYS": SAID,
        "LEAKY_PASSWORD": SECRETS["worker"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.pop().decode(),
    }


@pytest.fixture
async def collector() -> AsyncIterator[list[bytes]]:
    """Where spans go: first its address, then all that came."""
    came: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        came.append(await reader.readexactly(int(head.partition("content-length:")[2].split()[0])))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(collect, "127.0.0.1", 0) as server:
        came.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}".encode())
        yield came


async def test_no_secret_is_in_logs_metrics_or_spans(
    tmp_path: Path, nats_server: Server, environment: dict[str, str], collector: list[bytes]
) -> None:
    shop = write_project(tmp_path / "shop")
    write_pipeline(shop, "one", {"only": []})
    (shop / "custom" / "only.py").write_text(
        f"@custom\ndef run(*args, **kwargs):\n    raise OSError('postgres://u:{SECRETS['job']}@db is not there')\n"
    )
    secrets = {**SECRETS, "token": nats_server.token}
    async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
        await provision(bus, ack_wait=20)
        async with (
            service(environment, "runmesh", "resolver") as resolver,
            service(environment, "runmesh", "executor", "local_python") as local,
            service(environment, LEAKY) as leaky,
            service({**environment, "RUNMESH_NATS_URL": nats_server.url, "RUNMESH_NATS_TOKEN": secrets["wrong_token"]},
                    LEAKY) as stranger,
        ):  # fmt: skip
            await submit(bus)
            for run, state in (("job", "failed"), ("leaky", "failed"), ("field", "rejected"), ("type", "rejected")):
                await ends(bus, run, state)
            await eventually(lambda: dead_letters(bus))
            seen = [await metrics_of(wrote) for wrote in (resolver, local, leaky)]
            await eventually(lambda: stranger)
    for wrote in (resolver, local, leaky, stranger):
        seen += wrote
    everything = "\n".join([*seen, *(body.decode(errors="replace") for body in collector)])
    assert {name for name, secret in secrets.items() if spelled(secret, everything)} == set()
    assert "a third party warns" in everything
    assert collector
    about_runs([json.loads(line) for line in (*resolver, *local, *leaky) if line.startswith("{")])


async def submit(bus: Bus) -> None:
    """Ask for runs in whose requests something is secret, or wrong, or both."""
    secret = {"db_password": SECRETS["variable"]}
    await ask(bus, "run", {"pipeline": "one", "id": "job", "variables": secret})
    config = {"ecs": {"environment": {"API_TOKEN": SECRETS["environment"]}}}
    request = {"pipeline": "one", "executor_type": "ecs", "executor_config": config, "variables": secret}
    await ask(bus, "run", {**request, "id": "leaky"})
    await ask(bus, "run", {"pipeline": "one", "id": "field", "varables": SECRETS["rejected"]})
    await ask(bus, "run", {"pipeline": "one", "id": "type", "variables": SECRETS["mistyped"]})
    await ask(bus, "run", SECRETS["body"].encode())


def spelled(secret: str, text: str) -> bool:
    return secret in text or json.dumps(secret)[1:-1] in text or b64encode(secret.encode()).decode() in text


def about_runs(lines: list[dict[str, Any]]) -> None:
    """Check that each line says what it is about, and that each outcome is there once."""
    ends = [line for line in lines if line["action"] == "end"]
    assert sorted((line["run"], line.get("block", ""), line["state"]) for line in ends) == [
        ("field", "", "rejected"),
        ("job", "", "failed"),
        ("job", "only", "failed"),
        ("leaky", "", "failed"),
        ("leaky", "only", "failed"),
        ("type", "", "rejected"),
    ]
    about_tasks = [line for line in lines if "key" in line]
    assert {"end", "submit"} <= {line["action"] for line in about_tasks}
    assert [line for line in about_tasks if not {"run", "block", "executor", "attempt"} <= line.keys()] == []


async def test_an_outcome_is_logged_once_however_often_its_message_comes(bus: Bus, nats_address: Address) -> None:
    platform = Platform(load=Script(runs=None))
    with capture_logs() as lines:
        async with mesh_on(bus, nats_address) as mesh:
            first = await mesh.start(platform)
            event = await mesh.order("load")
            await mesh.submitted(event)
            await first.kill()
            await mesh.start(platform)
            await eventually(lambda: any(line["event"] == "task taken over" for line in lines))
            await platform.stop(platform.job("load"))
            await mesh.ended(event)
            await mesh.publish(event)
            await mesh.settled()
    assert [line["event"] for line in lines if line.get("action") == "end"] == ["task ended"]


async def test_a_rejection_is_logged_once_however_often_it_is_asked_for(bus: Bus, tmp_path: Path) -> None:
    write_project(tmp_path / "shop")
    with capture_logs() as lines:
        async with resolving(bus, settings_for(tmp_path)), resolving(bus, settings_for(tmp_path)), answering(bus):
            for _ in range(3):
                await ask(bus, "run", {"pipeline": "nothing", "id": "r1"})
            await ends(bus, "r1", "rejected")

            async def taken() -> bool:
                return (await bus.stream_info(subjects.REQUESTS)).messages == 0

            await eventually(taken)
    ((told),) = [line for line in lines if line["event"] == "run ended"]
    assert (told["run"], told["state"], told["action"], told["wrong"]) == ("r1", "rejected", "end", ["pipeline"])

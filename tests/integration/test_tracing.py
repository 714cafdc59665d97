"""One trace per run: from the caller, through resolver and workers, into the jobs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from runmesh.bus import Bus
from runmesh.client import Mesh as Client
from runmesh.events import ExecuteTask
from runmesh.executor import Handle, Observation, Phase, Task
from runmesh.executors import k8s
from runmesh.tracing import TRACING, traced
from runmesh.tracing.spans import Spans
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Fault, Platform, Script
from tests.integration.worker_mesh import Mesh, Process, mesh_on
from tests.shop import ask, resolving, settings_for, states, write_pipeline, write_project

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "shop=1"}
RETRY = {"retry_config": {"retries": 1, "delay": 0.1}}


class Noting(Platform):
    """A platform that notes the environment of every job, by run, block and attempt; a script is of the first one."""

    def __init__(self, **scripts: Script) -> None:
        super().__init__(**scripts)
        self.environments: dict[tuple[str, str, int], dict[str, str]] = {}

    def start(self, task: Task[Any] | ExecuteTask, script: Script) -> Handle:
        self.environments[task.run, task.block, task.attempt] = dict(task.environment)
        self.scripts.pop(task.block, None)
        return super().start(task, script)


class Told:
    """The spans that were told, as a tree of their names."""

    def __init__(self, memory: InMemorySpanExporter) -> None:
        self._memory = memory

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order of their starts."""
        return sorted(self._memory.get_finished_spans(), key=lambda span: span.start_time or 0)

    def one(self, name: str, attempt: int | None = None) -> ReadableSpan:
        """The only one of a name, or of that attempt."""
        named = [span for span in self.spans if span.name == name]
        (found,) = [span for span in named if attempt is None or about(span)["attempt"] == attempt]
        return found

    async def run(self, pipeline: str) -> ReadableSpan:
        """The span of a run, as soon as it is told."""
        return await eventually(lambda: next((span for span in self.spans if span.name == f"run {pipeline}"), None))

    def below(self, parent: int | None) -> list[Any]:
        """What is below a span: names, and what is below them in turn."""
        children = [span for span in self.spans if (span.parent.span_id if span.parent else None) == parent]
        return [(span.name, *self.below(span.context.span_id)) for span in children if span.context]


def about(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes, by our names."""
    return {name.removeprefix("runmesh."): value for name, value in (span.attributes or {}).items()}


@pytest.fixture
def told() -> Iterator[Told]:
    memory = InMemorySpanExporter()
    TRACING.begin(Spans("runmesh-test", "here", SimpleSpanProcessor(memory)))
    yield Told(memory)
    TRACING.begin(None)


@asynccontextmanager
async def tracing_mesh(
    bus: Bus, address: Address, projects: Path, platform: Platform
) -> AsyncIterator[tuple[Mesh, Process]]:
    write_pipeline(write_project(projects / "shop"), "orders", {"a": [], "b": ["a"]}, block=RETRY, executor_type="k8s")
    async with mesh_on(bus, address) as mesh:
        process = await mesh.start(platform, config_model=k8s.Config)
        async with resolving(bus, settings_for(projects)):
            yield mesh, process


async def ends(bus: Bus, run: str, state: str = "completed") -> None:
    async def ended() -> bool:
        return state in await states(bus, run)

    await eventually(ended)


async def test_a_run_with_a_retry_is_one_tree_below_its_caller(
    bus: Bus, nats_address: Address, tmp_path: Path, told: Told
) -> None:
    platform = Noting(a=Script(exit_code=1))
    async with tracing_mesh(bus, nats_address, tmp_path, platform):
        await ask(bus, "run", {"pipeline": "orders", "id": "run-1"}, headers=TRACEPARENT)
        await ends(bus, "run-1")
        await told.run("orders")

    assert told.below(int(CALLER, 16)) == [
        ("run orders", ("plan",), ("task a", ("submit",)), ("task a", ("submit",)), ("task b", ("submit",)))
    ]
    assert {span.context.trace_id for span in told.spans if span.context} == {int(TRACE, 16)}
    failed, again = told.one("task a", attempt=1), told.one("task a", attempt=2)
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "user")
    assert about(failed)["exit_code"] == 1
    assert again.status.is_unset
    assert again.events[0].name == "submitted"
    names = ("project", "pipeline", "run", "block", "executor", "state")
    assert [about(again)[name] for name in names] == ["shop", "orders", "run-1", "a", "k8s", "completed"]
    assert again.context
    job = platform.environments["run-1", "a", 2]
    assert job["TRACEPARENT"] == f"00-{TRACE}-{again.context.span_id:016x}-01"
    assert job["TRACESTATE"] == "shop=1"


async def test_a_run_without_a_caller_has_a_trace_of_its_own(
    bus: Bus, nats_address: Address, tmp_path: Path, told: Told
) -> None:
    platform = Platform(b=Script(submit=(Fault.REJECTED,)))
    async with tracing_mesh(bus, nats_address, tmp_path, platform):
        await ask(bus, "run", {"pipeline": "orders", "id": "run-1"})
        await ask(bus, "run", {"pipeline": "nothing", "id": "run-2"})
        await ends(bus, "run-1", "failed")
        await ends(bus, "run-2", "rejected")
        await told.run("orders")
        await told.run("nothing")

    assert sorted(told.below(None)) == [
        ("run nothing", ("plan",)),
        ("run orders", ("plan",), ("task a", ("submit",)), ("task b", ("submit",))),
    ]
    assert len({span.context.trace_id for span in told.spans if span.context}) == 2
    wrong = {span.name: span.status.description for span in told.spans if span.status.status_code is StatusCode.ERROR}
    assert wrong == {
        "run nothing": "rejected",
        "run orders": "failed",
        "task b": "config",
        "submit": "Rejected",
    }


async def test_a_task_that_two_workers_saw_through_is_one_span(
    bus: Bus, nats_address: Address, tmp_path: Path, told: Told
) -> None:
    platform = Platform(a=Script(runs=None))
    async with tracing_mesh(bus, nats_address, tmp_path, platform) as (mesh, first):
        await ask(bus, "run", {"pipeline": "orders", "id": "run-1"})
        await eventually(lambda: platform.jobs and platform.job("a").seen.phase is Phase.RUNNING)
        await first.kill()
        await mesh.start(platform, config_model=k8s.Config)
        platform.scripts["a"] = Script()
        platform.job("a").end(Observation(Phase.SUCCEEDED, 0))
        await ends(bus, "run-1")
        await told.run("orders")

    ((name, *below),) = told.below(None)
    assert (name, below) == ("run orders", [("plan",), ("task a", ("submit",)), ("task b", ("submit",))])
    ids = [span.context.span_id for span in told.spans if span.context]
    assert len(ids) == len(set(ids))
    task = about(told.one("task a"))
    assert (task["worker"], task["epoch"]) == ("worker-1", 1)


async def test_what_a_caller_does_not_sample_is_not_told_but_carried_on(
    bus: Bus, nats_address: Address, tmp_path: Path, told: Told
) -> None:
    platform = Noting()
    async with tracing_mesh(bus, nats_address, tmp_path, platform):
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        await ask(bus, "run", {"pipeline": "orders", "id": "run-1"}, headers=headers)
        await ends(bus, "run-1")
    assert told.spans == []
    flags = {environment["TRACEPARENT"][-2:] for environment in platform.environments.values()}
    assert flags == {"00"}


async def test_without_tracing_jobs_get_what_the_caller_has(
    bus: Bus, nats_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Noting()
    async with tracing_mesh(bus, nats_address, tmp_path, platform):
        monkeypatch.setenv("TRACEPARENT", TRACEPARENT["traceparent"])
        await Client(bus).submit("orders", project="shop", id="run-1")
        await ask(bus, "run", {"pipeline": "orders", "id": "run-2"})
        await ends(bus, "run-1")
        await ends(bus, "run-2")
    seen = {(run, environment.get("TRACEPARENT")) for (run, _, _), environment in platform.environments.items()}
    assert seen == {("run-1", TRACEPARENT["traceparent"]), ("run-2", None)}


async def test_spans_reach_the_collector_before_a_service_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    received = asyncio.get_running_loop().create_future()

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].split()[0])
        received.set_result((head.split()[1], await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(collect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        async with traced("executor k8s", os.environ):
            event = ExecuteTask(
                run="run-1", block="a", attempt=1, key="k", project="shop", revision="", pipeline="orders",
                executor_type="k8s", pool="default", config={}, command=(), start_timeout=1.0,
            )  # fmt: skip
            TRACING.task_submitted(event, TRACEPARENT, datetime.now(UTC))
        path, body = await received
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    about = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert path == "/v1/traces"
    assert about["service.name"] == "runmesh-executor-k8s"
    assert about["deployment.environment"] == "test"
    assert [span.name for span in resource.scope_spans[0].spans] == ["submit"]


def test_without_the_extra_a_service_says_so_and_works() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import asyncio\n"
        "from runmesh.tracing import TRACING, caller, traced\n"
        "async def main():\n"
        "    async with traced('resolver', {'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'}):\n"
        "        print(TRACING.of_run(caller(), 'run-1', None))\n"
        "asyncio.run(main())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TRACEPARENT": TRACEPARENT["traceparent"]},
    )
    assert ran.stdout.splitlines()[-1] == str({"traceparent": TRACEPARENT["traceparent"]})
    assert "the extra `otel` is not installed" in ran.stdout + ran.stderr

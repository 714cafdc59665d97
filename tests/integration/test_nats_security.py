"""The users that `make nats-permissions` writes: a real nats-server lets each do what it must, and nothing else.

The table in docs/security.md is what is expected. Here every action in it is tried by every user.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh import executor as executors
from runmesh import subjects
from runmesh.bus import Bus
from runmesh.cli import call
from runmesh.client import Mesh
from runmesh.embedded import Server, find_program
from runmesh.errors import NotPermitted, RunmeshError, Unreachable
from runmesh.events import RunState
from runmesh.resolver.service import Resolver
from runmesh.service import serve
from runmesh.settings import Settings
from runmesh.worker import Worker
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script, ScriptedExecutor
from tests.integration.nats_actions import API, table
from tests.integration.nats_users import PASSWORD, ROOT, USERS, connected, set_passwords, settings
from tests.shop import ask, write_pipeline, write_project

PAGE: Final = ROOT / "docs/security.md"
AFTERWARDS: Final[Mapping[str, Callable[[Bus], Awaitable[object]]]] = {
    "submitter-demo": lambda bus: bus.publish("mesh.request.run.demo", b"{}"),
    "observer": lambda bus: bus.stream_info(subjects.FACTS),
    "worker-k8s": lambda bus: bus.consumer_info(subjects.execute_stream("k8s"), subjects.execute_consumer("default")),
}
"""What a user is answered after all that it asked before."""


def test_the_committed_file_is_what_make_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNMESH_POOLS", "default")
    assert call(["permissions", "--project", "demo"]) == 0
    assert capsys.readouterr().out == USERS.read_text(), "run `make nats-permissions`"


async def test_the_configuration_that_includes_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_passwords(monkeypatch)
    config = str(USERS.with_name("nats-server.conf"))
    program = find_program()
    assert program
    checking = await asyncio.create_subprocess_exec(program, "-t", "-c", config, stderr=asyncio.subprocess.PIPE)
    _, said = await checking.communicate()
    assert b"is valid" in said


async def test_every_user_may_do_what_the_page_says_and_nothing_else(server: Server) -> None:
    found = re.search(r"<!-- permissions:.*?-->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    tried = await table(server)
    print(tried)  # noqa: T201 - what docs/security.md must hold
    assert found
    assert tried == found[1], "docs/security.md says otherwise: mend permissions.py, or the page"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"filter_subject": "mesh.run.>"},
        {"filter_subjects": ["mesh.run.>"]},
        {"filter_subject": "mesh.run.*.demo.*.*", "durable_name": "resolver"},
    ],
    ids=str,
)
async def test_a_submitter_reads_no_more_by_saying_another_thing_in_the_body(
    server: Server, config: Mapping[str, Any]
) -> None:
    body = {"stream_name": "FACTS", "config": {"name": "x", "ack_policy": "none", **config}}
    async with connected(server, "submitter-demo") as bus:
        with pytest.raises(RunmeshError, match=r"10131|10137|10017"):
            await bus.api("CONSUMER.CREATE.FACTS.x.mesh.run.*.demo.*.*", body)


async def test_a_submitter_makes_no_consumer_of_another_name_than_the_subjects(server: Server) -> None:
    mine = {"name": "resolver", "ack_policy": "none", "filter_subject": "mesh.run.*.demo.*.*"}
    async with connected(server, "submitter-demo") as bus, connected(server, "observer") as looking:
        before = await looking.api("CONSUMER.INFO.FACTS.resolver")
        made = await bus.api("CONSUMER.CREATE.FACTS.x.mesh.run.*.demo.*.*", {"stream_name": "FACTS", "config": mine})
        assert made["name"] == "x"
        assert (await looking.api("CONSUMER.INFO.FACTS.resolver"))["config"] == before["config"]


async def test_a_whole_run_goes_through_with_every_service_as_its_own_user(server: Server, tmp_path: Path) -> None:
    project = write_project(tmp_path / "demo")
    write_pipeline(project, "daily", {"load": [], "clean": ["load"]})
    write_pipeline(project, "endless", {"wait": []})
    platform = Platform(wait=Script(runs=None))
    async with asyncio.TaskGroup() as group:
        services = [
            group.create_task(resolving(server, tmp_path)),
            group.create_task(working(server, platform)),
        ]
        mine = settings(server, "submitter-demo", nats_project="demo")
        async with Mesh.connected(mine) as mesh:
            await eventually(lambda: answered(mesh.bus, "nothing"))
            run = await mesh.submit("daily", project="demo")
            await mesh.taken(run)
            facts = [fact async for fact in mesh.watch(run)]
            assert facts[-1].state == RunState.COMPLETED
            assert {fact.block for fact in facts if hasattr(fact, "block")} == {"load", "clean"}
            assert (await mesh.show(run)).state == RunState.COMPLETED
            assert [view.run for view in await mesh.runs()] == [run]
            assert [line async for line in mesh.logs(run, follow=True)] == []
            assert b"completed" in await answered(mesh.bus, run)
            await mesh.bus.send("mesh.request.run.demo", b'{"id": "plain", "pipeline": "daily"}')
            await eventually(lambda: listed(mesh, "plain"))
            assert (await mesh.wait("plain")).state == RunState.COMPLETED
            endless = await mesh.submit("endless", project="demo")
            await eventually(lambda: started(platform))
            await mesh.cancel(endless)
            assert (await mesh.wait(endless)).state == RunState.CANCELLED
            platform.scripts["wait"] = Script()
            assert (await mesh.wait(await mesh.retry(endless))).state == RunState.COMPLETED
            assert not mesh.bus.fatal.done()
        async with Mesh.connected(settings(server, "observer")) as looking:
            assert (await looking.show(run)).state == RunState.COMPLETED
            assert [worker.executor_type for worker in await looking.workers()] == ["local_python"]
            await looking.bus.request("$SRV.PING.runmesh-executor-local_python", b"")
            assert not looking.bus.fatal.done()
        assert not any(service.done() for service in services)
        for service in services:
            service.cancel()


@pytest.mark.parametrize(("user", "verdict"), [("observer", "✓ dead letters"), ("submitter-demo", "✗ permissions")])
async def test_the_doctor_looks_as_far_as_its_user_may(
    server: Server,
    user: str,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"URL": server.url, "USER": user, "PASSWORD": PASSWORD, "INBOX": f"_INBOX.{user}"}
    for name, value in given.items():
        monkeypatch.setenv(f"RUNMESH_NATS_{name}", value)
    assert await asyncio.to_thread(call, ["doctor"]) == 1  # no service runs
    assert verdict in capsys.readouterr().out


async def test_a_worker_that_may_not_take_its_tasks_ends_and_says_which(server: Server) -> None:
    here = settings(server, "worker-ecs")
    with pytest.raises(NotPermitted) as caught:
        await working(server, Platform(), here)
    assert "runmesh executor local_python no publish to $JS.API.CONSUMER.INFO.EXECUTE_local_python" in str(caught.value)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("submitter-demo", "mesh.request.run.demo"),
        ("submitter-demo", "mesh.api.run.demo"),
        ("submitter-demo", f"{API}.CONSUMER.MSG.NEXT.FACTS.x"),
        ("observer", f"{API}.STREAM.INFO.FACTS"),
        ("observer", "$SRV.PING"),
        ("worker-k8s", f"{API}.CONSUMER.MSG.NEXT.EXECUTE_k8s.pool_default"),
        ("worker-k8s", f"{API}.STREAM.MSG.GET.FACTS"),
        ("worker-k8s", "mesh.log.k8s.default.demo.r1.load"),
        ("worker-k8s", "$KV.claims.k8s.default.abc"),
    ],
)
async def test_nobody_outside_lets_the_server_write_its_answer_into_the_mesh(
    server: Server, user: str, subject: str
) -> None:
    async with connected(server, "admin") as admin, connected(server, user) as outside:
        state, claim = "$KV.runs.run.r1.state", "$KV.claims.ecs.default.abc"
        command = subjects.execute("ecs", "default", "shop", "r1", "load")
        await admin.publish(subjects.execute("k8s", "default", "demo", "r1", "load"), b"{}")
        for reply in (state, claim, command):
            await outside._link.publish(subject, b"{}", reply=reply)  # noqa: SLF001 - no client of ours would
        await AFTERWARDS[user](outside)
        assert (await admin.stream_info(f"KV_{subjects.RUNS}")).last == 0
        assert await admin.last(f"KV_{subjects.CLAIMS}", claim) is None
        assert (await admin.stream_info(subjects.execute_stream("ecs"))).last == 0


@pytest.mark.parametrize("user", ["submitter-demo", "observer"])
async def test_nobody_outside_has_a_consumer_deliver_into_the_mesh(server: Server, user: str) -> None:
    """A heartbeat is an empty message on the subject that it is delivered to: the end of a run that is told already."""
    told = "mesh.run.completed.demo.daily.r1"
    config = {
        "name": "x", "ack_policy": "none", "filter_subject": "mesh.log.*.*.demo.*.*", "deliver_subject": told,
        "idle_heartbeat": 100_000_000,
    }  # fmt: skip
    async with connected(server, "admin") as admin, connected(server, user) as here, connected(server, user) as there:
        await here._link.subscribe(told, ignored)  # noqa: SLF001
        await here._link.client.flush()  # noqa: SLF001
        request = {"stream_name": subjects.LOGS, "config": config}
        await there.api("CONSUMER.CREATE.LOGS.x.mesh.log.*.*.demo.*.*", request)
        assert "push_bound" not in await admin.api("CONSUMER.INFO.LOGS.x")


async def test_a_worker_that_writes_its_own_claims_deletes_no_others(server: Server) -> None:
    async with connected(server, "admin") as admin, connected(server, "worker-k8s") as worker:
        await admin.bucket(subjects.CLAIMS).put(subjects.claim("ecs", "default", "abc"), b"{}")
        own = f"$KV.{subjects.CLAIMS}.{subjects.claim('k8s', 'default', 'abc')}"
        with pytest.raises(RunmeshError, match="rollup not permitted"):
            await worker.publish(own, b"{}", headers={"Nats-Rollup": "all"})
        assert await admin.bucket(subjects.CLAIMS).keys() == [subjects.claim("ecs", "default", "abc")]


async def test_a_forged_fact_on_ones_own_subject_changes_nothing(server: Server, tmp_path: Path) -> None:
    """What a worker may publish is said by subjects; so the resolver believes no body that says another thing."""
    project = write_project(tmp_path / "demo")
    write_pipeline(project, "daily", {"load": []}, executor_type="local_python")
    async with asyncio.TaskGroup() as group:
        service = group.create_task(resolving(server, tmp_path))
        async with connected(server, "admin") as admin, connected(server, "worker-ecs") as liar:
            await ask(admin, "run", {"id": "r1", "pipeline": "daily"}, project="demo")
            forged = {
                "run": "r1", "block": "load", "attempt": 1, "resubmission": 0, "n": 3, "epoch": 0, "state": "completed",
                "key": subjects.task_key("r1", "load", 1, 0), "executor_type": "local_python", "pool": "default",
                "at": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            own = subjects.task_fact("completed", "ecs", "default", "demo", "r1", "load")
            await liar.publish(own, json.dumps(forged).encode())
            letter = await eventually(lambda: admin.last(subjects.DEAD, "mesh.dead.resolver.undecodable"))
            assert b"on the subject of another" in letter.data
            assert await admin.last(subjects.FACTS, "mesh.run.completed.demo.daily.r1") is None
        service.cancel()


async def test_an_answer_goes_to_an_inbox_and_nowhere_else(server: Server, tmp_path: Path) -> None:
    write_project(tmp_path / "demo")
    async with asyncio.TaskGroup() as group:
        service = group.create_task(resolving(server, tmp_path))
        async with connected(server, "admin") as admin:
            await eventually(lambda: answered(admin, "nothing"))
            await admin._link.publish("mesh.api.run.demo", b"{}", reply="mesh.request.run.shop")  # noqa: SLF001
            await answered(admin, "nothing")
            assert (await admin.stream_info(subjects.REQUESTS)).last == 0
        assert not service.done()
        service.cancel()


async def resolving(server: Server, projects: Path) -> None:
    here = settings(server, "resolver", projects_dir=projects, allow_overrides=True)
    needs = [(subjects.REQUESTS, subjects.RESOLVER), (subjects.FACTS, subjects.RESOLVER)]
    await serve("resolver", here, needs, lambda bus: Resolver(bus, here))


async def working(server: Server, platform: Platform, here: Settings | None = None) -> None:
    here = here or settings(server, "worker-local_python")
    kind = "local_python"
    backend = executors.load(kind)
    assert backend

    def make(bus: Bus) -> Worker:
        executor = ScriptedExecutor(platform)
        model = backend.Config
        return Worker(bus, executor, executor_type=kind, config_model=model, settings=here, worker_id="w1")

    needs = [(subjects.execute_stream(kind), subjects.execute_consumer("default"))]
    await serve(f"executor {kind}", here, needs, make)


async def answered(bus: Bus, run: str) -> bytes:
    try:
        reply = await bus.request("mesh.api.run.demo", json.dumps({"run": run}).encode(), timeout=2)
    except Unreachable as error:
        raise AssertionError(error) from error
    return reply.data or reply.headers["Nats-Service-Error"].encode()


async def ignored(_: object) -> None:
    """Take what is heard."""


async def listed(mesh: Mesh, run: str) -> bool:
    return run in {view.run for view in await mesh.runs()}


async def started(platform: Platform) -> bool:
    return bool(platform.alive)

"""The users that `make nats-permissions` writes: a real nats-server lets each do what it must, and nothing else.

The table in docs/security.md is what is expected. Here every action in it is tried by every user.
"""

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nkeys  # type: ignore[import-untyped]
import pytest

from runmesh import executor as executors
from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cli import call
from runmesh.cli.exits import exit_code
from runmesh.client import Mesh
from runmesh.embedded import Server
from runmesh.errors import Invalid, NotPermitted, RunmeshError, Unreachable
from runmesh.events import RunState
from runmesh.resolver.service import Resolver
from runmesh.service import serve
from runmesh.settings import Settings, load
from runmesh.worker import Worker
from tests.emulators.certificates import certify
from tests.eventually import eventually
from tests.executors.scripted import Platform, Script, ScriptedExecutor
from tests.shop import ask, write_pipeline, write_project

ROOT: Final = Path(__file__).parents[2]
USERS: Final = ROOT / "deploy/nats/accounts.conf"
PAGE: Final = ROOT / "docs/security.md"
PASSWORD: Final = "secret"  # noqa: S105 - of every user here
NAMES: Final = ("provisioner", "resolver", "worker-k8s", "submitter-demo", "observer")
API: Final = "$JS.API"

ACTIONS: Final[Mapping[str, str]] = {
    "request a run of one's project": "PUB mesh.request.run.demo",
    "cancel, retry there": "PUB mesh.request.cancel.demo",
    "request a run of another project": "PUB mesh.request.run.shop",
    "ask `mesh.api` of one's project": "PUB mesh.api.explain.demo",
    "ask `mesh.api` of another project": "PUB mesh.api.explain.shop",
    "ask for a run's state, any project": "PUB mesh.api.run.shop",
    "command a worker": "PUB mesh.execute.k8s.default.demo.r1.load",
    "tell a fact of a run": "PUB mesh.run.completed.demo.daily.r1",
    "tell a fact of one's own tasks": "PUB mesh.task.completed.k8s.default.demo.r1.load",
    "tell a fact of the resolver's": "PUB mesh.task.upstream_failed.k8s.default.demo.r1.load",
    "tell a fact of another type's task": "PUB mesh.task.completed.ecs.default.demo.r1.load",
    "tell a fact of another pool's task": "PUB mesh.task.completed.k8s.gpu.demo.r1.load",
    "write logs of one's own tasks": "PUB mesh.log.k8s.default.demo.r1.load",
    "write logs of another type's": "PUB mesh.log.ecs.default.demo.r1.load",
    "bury a message as a worker of one's type": f"PUB {subjects.dead('worker.k8s', 'poison')}",
    "bury a message as another type's worker": f"PUB {subjects.dead('worker.ecs', 'poison')}",
    "bury a message as the resolver": "PUB mesh.dead.resolver.poison",
    "write a claim of one's type and pool": "PUB $KV.claims.k8s.default.abc",
    "write a claim of another type": "PUB $KV.claims.ecs.default.abc",
    "write a claim of another pool": "PUB $KV.claims.k8s.gpu.abc",
    "beat as a worker of one's type": "PUB $KV.workers.k8s.default.w1",
    "beat as a worker of another type": "PUB $KV.workers.ecs.default.w1",
    "write a run's state": "PUB $KV.runs.run.r1.state",
    "stop a run's tasks": "PUB $KV.runs.cancelling.r1",
    "pull one's own tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_k8s.pool_default",
    "pull another type's tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_ecs.pool_default",
    "pull another pool's tasks": f"PUB {API}.CONSUMER.MSG.NEXT.EXECUTE_k8s.pool_gpu",
    "acknowledge one's own tasks": "PUB $JS.ACK.EXECUTE_k8s.pool_default.1.1.1.1.0",
    "acknowledge another type's tasks": "PUB $JS.ACK.EXECUTE_ecs.pool_default.1.1.1.1.0",
    "pull requests": f"PUB {API}.CONSUMER.MSG.NEXT.REQUESTS.resolver",
    "acknowledge requests": "PUB $JS.ACK.REQUESTS.resolver.1.1.1.1.0",
    "pull the resolver's facts": f"PUB {API}.CONSUMER.MSG.NEXT.FACTS.resolver",
    "acknowledge the resolver's facts": "PUB $JS.ACK.FACTS.resolver.1.1.1.1.0",
    "change the resolver's consumer of facts": f"PUB {API}.CONSUMER.CREATE.FACTS.resolver.mesh.run.*.demo.*.*",
    "make a consumer of requests": f"PUB {API}.CONSUMER.CREATE.REQUESTS.x",
    "make a consumer of tasks": f"PUB {API}.CONSUMER.CREATE.EXECUTE_k8s.x",
    "make the pool's consumer of tasks": f"PUB {API}.CONSUMER.CREATE.EXECUTE_k8s.pool_default",
    "make a durable in the old way": f"PUB {API}.CONSUMER.DURABLE.CREATE.FACTS.x",
    "delete a consumer": f"PUB {API}.CONSUMER.DELETE.EXECUTE_k8s.pool_default",
    "pause a consumer": f"PUB {API}.CONSUMER.PAUSE.EXECUTE_k8s.pool_default",
    "replay the facts of one's project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.task.*.*.*.demo.r1.*",
    "replay the facts of another project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.task.*.*.*.shop.r1.*",
    "replay the facts of every project": f"PUB {API}.CONSUMER.CREATE.FACTS.x.mesh.run.>",
    "replay several subjects at once": f"PUB {API}.CONSUMER.CREATE.FACTS.x",
    "replay the logs of one's project": f"PUB {API}.CONSUMER.CREATE.LOGS.x.mesh.log.*.*.demo.r1.*",
    "replay the logs of another project": f"PUB {API}.CONSUMER.CREATE.LOGS.x.mesh.log.*.*.shop.r1.*",
    "replay the dead letters": f"PUB {API}.CONSUMER.CREATE.DEAD.x",
    "list the runs' states": f"PUB {API}.CONSUMER.CREATE.KV_runs.x.$KV.runs.run.*.state",
    "list which runs must stop": f"PUB {API}.CONSUMER.CREATE.KV_runs.x.$KV.runs.cancelling.*",
    "list the claims": f"PUB {API}.CONSUMER.CREATE.KV_claims.x.$KV.claims.>",
    "list the workers": f"PUB {API}.CONSUMER.CREATE.KV_workers.x.$KV.workers.>",
    "read any key of `runs`": f"PUB {API}.STREAM.MSG.GET.KV_runs",
    "read any key of `claims`": f"PUB {API}.STREAM.MSG.GET.KV_claims",
    "read any stored fact": f"PUB {API}.STREAM.MSG.GET.FACTS",
    "read any stored log": f"PUB {API}.STREAM.MSG.GET.LOGS",
    "read any request": f"PUB {API}.STREAM.MSG.GET.REQUESTS",
    "read any task": f"PUB {API}.STREAM.MSG.GET.EXECUTE_k8s",
    "see how full a queue is": f"PUB {API}.STREAM.INFO.EXECUTE_k8s",
    "make or change a stream": f"PUB {API}.STREAM.UPDATE.FACTS",
    "make a stream that is none of the mesh's": f"PUB {API}.STREAM.CREATE.OTHER",
    "delete a stream": f"PUB {API}.STREAM.DELETE.FACTS",
    "purge a stream": f"PUB {API}.STREAM.PURGE.FACTS",
    "delete a message": f"PUB {API}.STREAM.MSG.DELETE.DEAD",
    "copy a stream": f"PUB {API}.STREAM.SNAPSHOT.FACTS",
    "list the streams": f"PUB {API}.STREAM.LIST",
    "answer somebody's question": "PUB _INBOX.observer.x",
    "hear answers to oneself": "SUB _INBOX.<user>.>",
    "hear answers to others": "SUB _INBOX.>",
    "hear answers in the usual inbox": "SUB _INBOX.x.*",
    "hear everything": "SUB >",
    "hear the facts of one's project": "SUB mesh.run.*.demo.*.*",
    "hear the facts of another project": "SUB mesh.run.*.shop.*.*",
    "hear requests": "SUB mesh.request.>",
    "hear tasks": "SUB mesh.execute.>",
    "hear changes of keys": "SUB $KV.>",
    "hear what others ask JetStream": "SUB $JS.API.>",
    "hear advisories": "SUB $JS.EVENT.ADVISORY.>",
    "serve `mesh.api`": "SUB mesh.api.submit.*",
    "be found by service discovery": "SUB $SRV.PING",
    "ask service discovery": "PUB $SRV.PING",
}


class GuardedServer(Server):
    """A server with the generated users, and more of a configuration's lines."""

    def __init__(self, store: Path, lines: str = "") -> None:
        super().__init__(store)
        self.lines = lines or f"accounts {{ include {json.dumps(os.path.relpath(USERS, store))} }}"

    def _config(self) -> str:
        usual = [line for line in super()._config().splitlines() if "token" not in line]
        return "\n".join([*usual, self.lines])


@asynccontextmanager
async def serving(store: Path, lines: str = "") -> AsyncIterator[Server]:
    server = GuardedServer(store, lines)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$(RUNMESH_\w+_PASSWORD)", USERS.read_text()):
        monkeypatch.setenv(name, PASSWORD)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with the generated users, and a mesh that its provisioner has made."""
    (tmp_path / "nats").mkdir()
    async with serving(tmp_path / "nats") as running:
        async with connected(running, "provisioner") as bus:
            assert await provision(bus)
            assert await provision(bus) == []
            assert not bus.fatal.done()
        yield running


def settings(server: Server, user: str, **more: Any) -> Settings:
    known = {"nats_url": server.url, "nats_user": user, "nats_password": PASSWORD, "nats_inbox": f"_INBOX.{user}"}
    return load(**{**known, "log_level": "error", "ack_wait": 2.0, "sweep_interval": 0.5, **more})


@asynccontextmanager
async def connected(server: Server, user: str) -> AsyncIterator[Bus]:
    async with connect(server.url, name=user, **settings(server, user).login) as bus:
        yield bus


async def refused(server: Server, user: str, lines: Sequence[str]) -> set[str]:
    """Send protocol lines as a user, and return those that the server calls a violation of permissions."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    login = {"user": user, "pass": PASSWORD, "verbose": False, "headers": True}
    wire = [f"{line} 0\r\n" if line.startswith("PUB") else f"{line} {n}" for n, line in enumerate(lines)]
    writer.write("\r\n".join([f"CONNECT {json.dumps(login)}", *wire, "PING", ""]).encode())
    found = set()
    async with asyncio.timeout(10):
        while (answer := (await reader.readline()).decode()) != "PONG\r\n":
            assert answer, f"the server refuses {user}"
            if violation := re.search(r'Permissions Violation for (Publish|Subscription) to "([^"]+)"', answer):
                found.add(f"{violation[1][:3].upper()} {violation[2]}")
    writer.close()
    assert found <= set(lines)
    return found


async def table(server: Server) -> str:
    """Try everything as everybody, and write down what the server allowed."""
    rows = []
    verdicts = {}
    for user in NAMES:
        lines = [line.replace("<user>", user) for line in ACTIONS.values()]
        no = await refused(server, user, lines)
        verdicts[user] = ["no" if line in no else "**yes**" for line in lines]
    for n, (what, line) in enumerate(ACTIONS.items()):
        cells = (what, f"`{line}`".replace("|", "\\|"), *(verdicts[user][n] for user in NAMES))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"| | | {' | '.join(NAMES)} |", f"|---|---|{'---|' * len(NAMES)}", *rows])


def test_the_committed_file_is_what_make_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNMESH_POOLS", "default")
    assert call(["permissions", "--project", "demo"]) == 0
    assert capsys.readouterr().out == USERS.read_text(), "run `make nats-permissions`"


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
    ],
)
async def test_nobody_outside_lets_the_server_write_its_answer_into_the_mesh(
    server: Server, user: str, subject: str
) -> None:
    async with connected(server, "admin") as admin, connected(server, user) as outside:
        state, command = admin.bucket(subjects.RUNS), subjects.execute("k8s", "default", "shop", "r1", "load")
        revision = await state.put(subjects.run_state("r1"), b"{}")
        for reply in ("$KV.runs.run.r1.state", command):
            await outside._link.publish(subject, b"{}", reply=reply)  # noqa: SLF001 - no client of ours would
        await outside.publish("mesh.request.run.demo", b"{}") if user != "observer" else await outside.stream_info(
            "FACTS"
        )
        entry = await state.get(subjects.run_state("r1"))
        assert entry
        assert entry.revision == revision
        assert (await admin.stream_info(subjects.execute_stream("k8s"))).last == 0


async def test_a_submitter_hears_the_facts_of_its_project_live(server: Server) -> None:
    heard = list[str]()

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with connected(server, "admin") as admin, connected(server, "submitter-demo") as bus:
        await bus._link.subscribe("mesh.run.*.demo.*.*", hear)  # noqa: SLF001
        await bus._link.client.flush()  # noqa: SLF001
        for project in ("shop", "demo"):
            await admin.publish(f"mesh.run.accepted.{project}.daily.r1", b"{}")
        await eventually(lambda: heard)
        assert heard == ["mesh.run.accepted.demo.daily.r1"]


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


async def listed(mesh: Mesh, run: str) -> bool:
    return run in {view.run for view in await mesh.runs()}


async def started(platform: Platform) -> bool:
    return bool(platform.alive)


# --- the ways in ---------------------------------------------------------------------------------------


async def test_a_wrong_password_ends_with_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotPermitted) as caught:
        async with Mesh.connected(settings(server, "resolver", nats_password="wrong")):  # noqa: S106
            pass
    assert exit_code(caught.value) == 1
    assert capsys.readouterr().err == "runmesh: NATS refuses the credentials of runmesh client\n"


async def test_an_nkey_needs_no_password(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    (tmp_path / "seed").write_bytes(seed)
    key = nkeys.from_seed(bytearray(seed)).public_key.decode()
    assert await asyncio.to_thread(written, tmp_path, "--nkey", f"observer={key}")
    async with serving(tmp_path, 'accounts { include "mine.conf" }') as server:
        known = {"nats_url": server.url, "nats_inbox": "_INBOX.observer"}
        async with Mesh.connected(load(nats_nkey=tmp_path / "seed", **known)) as mesh:
            await mesh.bus.send("$SRV.PING", b"")
        (tmp_path / "seed").write_text("nonsense")
        with pytest.raises(NotPermitted, match="credentials of runmesh client can't be read"):
            async with Mesh.connected(load(nats_nkey=tmp_path / "seed", **known)):
                pass


def written(directory: Path, *options: str) -> bool:
    from contextlib import redirect_stdout  # noqa: PLC0415

    with (directory / "mine.conf").open("w") as file, redirect_stdout(file):
        return call(["permissions", *options]) == 0


# --- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], Path]:
    """Make a certificate and its key of that name."""

    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        certify(tmp_path / name / "cert.pem")
        return tmp_path / name

    return make


async def reached(server: Server, **given: Any) -> bool:
    """Whether a client with these settings gets in."""
    here = load(**{"nats_url": server.url, **given})
    async with connect(here.servers, name="test", timeout=1, **here.login) as bus:
        assert bus.payload_limit
        return True


async def test_tls_is_used_with_the_authority_that_is_named_and_no_other(
    tmp_path: Path, certificates: Callable[[str], Path]
) -> None:
    ours, theirs = certificates("ours"), certificates("theirs")
    tls = f'tls {{ cert_file: "{ours}/cert.pem", key_file: "{ours}/private.pem" }}'
    async with serving(tmp_path, tls) as server:
        assert await reached(server, nats_ca=ours / "cert.pem")
        for wrong in ({}, {"nats_ca": theirs / "cert.pem"}):
            with pytest.raises(Unreachable, match=r"(?i)certificate"):
                await reached(server, **wrong)


async def test_mutual_tls_wants_a_certificate_of_the_client(
    tmp_path: Path, certificates: Callable[[str], Path]
) -> None:
    ours, mine = certificates("ours"), certificates("mine")
    files = {"cert_file": ours / "cert.pem", "key_file": ours / "private.pem", "ca_file": mine / "cert.pem"}
    tls = f"tls {{ {''.join(f'{name}: {json.dumps(str(path))}, ' for name, path in files.items())} verify: true }}"
    shown = {"nats_certificate": mine / "cert.pem", "nats_key": mine / "private.pem"}
    async with serving(tmp_path, tls) as server:
        assert await reached(server, nats_ca=ours / "cert.pem", **shown)
        with pytest.raises(Unreachable):
            await reached(server, nats_ca=ours / "cert.pem")


async def test_whoever_wants_tls_tells_no_password_to_a_server_without(
    server: Server, certificates: Callable[[str], Path]
) -> None:
    with pytest.raises(Unreachable, match="secure connection not available"):
        await reached(server, nats_user="resolver", nats_password=PASSWORD, nats_ca=certificates("ca") / "cert.pem")
    with pytest.raises(Unreachable, match="secure connection not available"):
        await reached(server, nats_url=server.url.replace("nats:", "tls:"), nats_token="t")  # noqa: S106


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nats_password": "hunter2"}, "RUNMESH_NATS_PASSWORD: Value error, needs RUNMESH_NATS_USER"),
        ({"nats_token": "t", "nats_user": "u"}, "RUNMESH_NATS_USER: .*too many beside RUNMESH_NATS_TOKEN"),
        ({"nats_nkey": "/not/there"}, "RUNMESH_NATS_NKEY: Path does not point to a file, not '/not/there'"),
        ({"nats_inbox": "mine"}, "RUNMESH_NATS_INBOX: String should match pattern"),
        ({"nats_inbox": "_INBOX.*"}, "RUNMESH_NATS_INBOX: String should match pattern"),
        ({"nats_key": __file__}, "RUNMESH_NATS_KEY: .*needs RUNMESH_NATS_CERTIFICATE"),
        ({"nats_ca": __file__}, "RUNMESH_NATS_CA: no certificate"),
        ({"nats_certificate": __file__}, "RUNMESH_NATS_CERTIFICATE: no certificate, or not its key"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        assert load(**given).login
    assert "hunter2" not in str(caught.value)


def test_without_anything_said_there_is_no_tls_of_ours() -> None:
    assert load().login["tls"] is None
    assert isinstance(load(nats_url="tls://nats:4222").login["tls"], ssl.SSLContext)

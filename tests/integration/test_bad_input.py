"""Whatever comes in: a clear answer to it, nothing stops, and the next good request runs."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console
from ulid import ULID

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.cli.tree import render
from runmesh.client import Mesh as Client
from runmesh.embedded import embedded
from runmesh.events import RequestProblem, RunFact
from runmesh.executors.k8s import Config as KubernetesConfig
from tests.conftest import Address
from tests.eventually import eventually
from tests.executors.scripted import Platform
from tests.integration.raw import Raw, framed, raw
from tests.integration.worker_mesh import mesh_on
from tests.shop import (
    answering,
    ask,
    dead_letters,
    resolving,
    run_facts,
    settings_for,
    states,
    task_facts,
    write_pipeline,
    write_project,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGE = [
    "a.b",
    "a b",
    "a/b",
    "..",
    "../../etc",
    "/etc",
    "a\0b",
    "ü",
    "🌊",
    "*",
    ">",
    "a.>",
    "%2E",
    "~",
    "\u2028",
    "-x",
]
ONE = "blocks:\n- {uuid: only, type: custom, language: python}\n"


@dataclass(frozen=True)
class Mesh:
    """A resolver that all tests of this module share, with somebody who completes local tasks."""

    bus: Bus
    projects: Path
    wire: Raw
    address: Address

    async def still_works(self) -> None:
        """See the next good request through to its end, and nothing left of those before."""
        run = str(ULID())
        await ask(self.bus, "run", {"pipeline": "one", "id": run})
        await self.ends(run, "completed")

        async def drained() -> bool:
            return (await self.bus.stream_info(subjects.REQUESTS)).messages == 0

        await eventually(drained)

    async def ends(self, run: str, state: str) -> None:
        async def ended() -> bool:
            return state in await states(self.bus, run)

        await eventually(ended)

    async def refusal(self, body: dict[str, Any], verb: str = "run", project: str = "shop") -> list[RequestProblem]:
        """Return what is said to be wrong with a request; the only thing said of its run."""
        run = str(ULID())
        await ask(self.bus, verb, {"id": run, **body}, project=project)
        (fact,) = await eventually(lambda: run_facts(self.bus, run))
        assert fact.state == "rejected"
        assert fact.errors
        assert fact.reason
        return list(fact.errors)

    async def letter(self) -> dict[str, Any]:
        """Return the only dead letter, and forget it."""
        letter: dict[str, Any]
        (letter,) = await eventually(lambda: dead_letters(self.bus))
        await self.bus.api(f"STREAM.PURGE.{subjects.DEAD}")
        return letter

    def project(self, metadata: str | bytes = "", pipeline: str | bytes = ONE, source: str = "x = 1\n") -> str:
        """Write a project whose documents are these, and return its name."""
        name = f"p{ULID()}"
        for path, text in {
            "metadata.yaml": metadata,
            "pipelines/p/metadata.yaml": pipeline,
            "custom/only.py": source,
        }.items():
            file = self.projects / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode() if isinstance(text, str) else text)
        return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    projects = tmp_path_factory.mktemp("projects")
    write_pipeline(write_project(projects / "shop"), "one", {"only": []})
    write_pipeline(projects / "shop", "far", {"remote": []}, executor_type="k8s")
    async with (
        embedded() as server,
        raw(server) as wire,
        connect(server.url, name="asks", token=server.token) as bus,
        connect(server.url, name="resolves", token=server.token) as resolvers,
        connect(server.url, name="answers", token=server.token) as workers,
    ):
        await provision(bus, ack_wait=60)  # between two tests the module's loop stands still
        async with resolving(resolvers, settings_for(projects)), answering(workers):
            yield Mesh(bus, projects, wire, Address(server.url, server.token))


@asynccontextmanager
async def survived(mesh: Mesh) -> AsyncIterator[None]:
    """Nothing stops, whatever happens in the block."""
    yield
    await mesh.still_works()
    assert await dead_letters(mesh.bus) == []


def said(problem: RequestProblem) -> str:
    return f"{problem.path}: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")


# --- requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pipeline": []}, "pipeline: should be a pipeline's name or an inline document, not []"),
        ({"pipeline": ""}, "pipeline: should be a pipeline's name or an inline document, not ''"),
        ({"blocks": "only"}, "blocks: "),
        ({"blocks": []}, "blocks.names: should not be empty, not []"),
        ({"blocks": {"names": ["only"], "upstrem": True}}, "blocks.upstrem: unknown field (did you mean 'upstream'?)"),
        ({"variables": [1]}, "variables: "),
        ({"labels": {"a": 1}}, "labels.a: "),
        ({"timeout": "60"}, "timeout: should be a valid number, not '60'"),
        ({"timeout": -1}, "timeout: "),
        ({"timeout": 1e300}, "timeout: "),
        ({"execution_date": "yesterday"}, "execution_date: "),
        ({"allow_blocks_to_fail": "yes"}, "allow_blocks_to_fail: "),
        ({"executor_config": {"k8s": 5}}, "executor_config.k8s: "),
        ({"executor_type": ""}, "request: executor_type: unknown executor type '' (request level)"),
        ({"executor_type": "K8S"}, "request: executor_type: unknown executor type 'K8S' (request level) (did you mean"),
        (
            {"executor_config": {"k8": {}}},
            "request: executor_config: unknown executor type 'k8' (request level) (did you mean 'k8s'?)",
        ),
        (
            {"executor_config": {"local_python": {"kil_grace": 1}}},
            "request: executor_config.local_python.kil_grace: unknown key 'kil_grace' (request level) (did you mean",
        ),
        (
            {"block_config": {"only": {"kill_grace": "soon"}}},
            "request: block_config.only.kill_grace: ",
        ),
        (
            {"block_config": {"onli": {}}},
            "request: block_config: there is no block 'onli' in 'one' (did you mean 'only'?)",
        ),
        ({"execution_partition": "../x"}, "execution_partition: should match "),
        ({"trigger_name": ""}, "trigger_name: "),
        ({"Pipeline": "one"}, "Pipeline: unknown field (did you mean 'pipeline'?)"),
        ({"x" * 100_000: 1}, "x"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(mesh: Mesh, fields: dict[str, Any], expected: str) -> None:
    async with survived(mesh):
        problems = await mesh.refusal({"pipeline": "one", **fields})
        assert [said(problem) for problem in problems if said(problem).startswith(expected)], problems
        assert all(len(said(problem)) < 3000 for problem in problems)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_that_json_cannot_express_is_refused(mesh: Mesh, number: str) -> None:
    async with survived(mesh):
        run = str(ULID())
        await ask(
            mesh.bus, "run", b'{"pipeline":"one","id":"%s","variables":{"x":[%s]}}' % (run.encode(), number.encode())
        )
        await mesh.ends(run, "rejected")


@pytest.mark.parametrize("name", [*STRANGE, "x" * 100_000, "é" * 150_000])
async def test_a_strange_name_of_a_pipeline_is_refused(mesh: Mesh, name: str) -> None:
    async with survived(mesh):
        (problem,) = await mesh.refusal({"pipeline": name})
        assert problem.path == "pipeline"


@pytest.mark.parametrize("name", [*STRANGE, "x" * 1000])
async def test_a_strange_name_of_a_project_is_refused(mesh: Mesh, name: str) -> None:
    async with survived(mesh):
        (problem,) = await mesh.refusal({"pipeline": "one"}, project=name)
        assert problem.path == "project"


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_name_of_a_block_is_unknown(mesh: Mesh, name: str) -> None:
    async with survived(mesh):
        (problem,) = await mesh.refusal({"pipeline": "one", "blocks": [name]})
        assert problem.path == "request: blocks"
        assert repr(name) in problem.message


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_block_in_a_document_runs_or_is_refused(mesh: Mesh, name: str) -> None:
    async with survived(mesh):
        run = str(ULID())
        block = {"uuid": name, "type": "custom", "content": "x = 1"}
        await ask(mesh.bus, "run", {"id": run, "pipeline": {"name": name, "blocks": [block]}})
        facts = await eventually(lambda: ended(mesh.bus, run))
        assert facts[-1].state == "completed" or facts[-1].errors


async def ended(bus: Bus, run: str) -> list[RunFact]:
    facts = await run_facts(bus, run)
    return facts if facts and facts[-1].state in ("completed", "rejected") else []


@pytest.mark.parametrize("name", STRANGE)
async def test_strange_labels_triggers_and_variables_arrive_as_they_are(mesh: Mesh, name: str) -> None:
    async with survived(mesh), answering(mesh.bus, "k8s") as taken:
        run = str(ULID())
        request = {
            "id": run,
            "pipeline": "far",
            "labels": {name: name},
            "trigger_name": name,
            "variables": {name: name},
        }
        await ask(mesh.bus, "run", request)
        await mesh.ends(run, "completed")
        (command,) = taken
        assert command.labels == {name: name}
        assert name in command.command or f"--trigger-name={name}" in command.command
        assert json.dumps({name: name}, separators=(",", ":")) in command.command


@pytest.mark.parametrize("name", [*STRANGE, "", "x" * 201])
async def test_a_strange_partition_is_refused_if_it_could_lead_elsewhere(mesh: Mesh, name: str) -> None:
    async with survived(mesh):
        run = str(ULID())
        await ask(mesh.bus, "run", {"id": run, "pipeline": "one", "execution_partition": name})
        facts = await eventually(lambda: ended(mesh.bus, run))
        assert facts[-1].state == "rejected" or re.fullmatch(r"[\w.-][\w./-]*", name)
        assert facts[-1].state == "rejected" or ".." not in name


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize("run", [*STRANGE[:-1], "", "x" * 65, 5, None, ["r"]])
async def test_a_cancel_or_retry_of_what_can_be_no_run_is_a_dead_letter(mesh: Mesh, verb: str, run: object) -> None:
    async with survived(mesh):
        await ask(mesh.bus, verb, {"run": run})
        letter = await mesh.letter()
        assert (letter["subject"], letter["reason"]) == (f"mesh.request.{verb}.shop", "invalid")
        assert letter["error"].startswith("run: ")


async def test_an_unknown_verb_is_a_dead_letter(mesh: Mesh) -> None:
    async with survived(mesh):
        await ask(mesh.bus, "stop", {"run": "r1"})
        letter = await mesh.letter()
        assert letter["error"] == "unknown request 'stop': known are run, cancel and retry"


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"x": "y" * 1_048_000}},
        {"pipeline": "far", "executor_config": {"k8s": {"metadata": {"annotations": {"x": "y" * 1_046_900}}}}},
    ],
)
async def test_what_would_make_a_command_too_large_is_refused(mesh: Mesh, fields: dict[str, Any]) -> None:
    async with survived(mesh):
        (problem,) = await mesh.refusal({"pipeline": "one", **fields})
        assert re.search(r"its command takes 1,04\d,\d+ bytes", problem.message)


async def test_a_megabyte_that_nothing_compresses_is_answered(mesh: Mesh) -> None:
    async with survived(mesh):
        noise = os.urandom(510_000).hex()
        (problem,) = await mesh.refusal({"pipeline": noise})
        assert problem.path == "pipeline"
        (problem,) = await mesh.refusal({"pipeline": "one", "variables": {"x": noise}})
        assert "variables of 1020 KB" in problem.message
        problems = await mesh.refusal({"pipeline": "one", noise: noise[:1000]})
        assert problems[0].message == "unknown field"


@pytest.mark.parametrize(
    "message",
    [
        framed(b"mesh.request.run.\xff", b"{}"),
        framed(b"mesh.request.run.a\x0bb", b"{}"),
        framed(b"mesh.request.run.a\x0cb", b"{}"),
        framed(b"mesh.request.run.%ff%", b"{}"),
        framed(b"mesh.request.run." + b"x" * 3900, b"{}"),
        framed(b"mesh.request.run.shop", b"{}", b"garbage"),
        framed(b"mesh.request.run.shop", b"{}", b"NATS/1.0"),
        framed(b"mesh.request.run.shop", b"{}", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
        framed(b"mesh.request.run.shop", b"{}", b"NATS/1.0 503 \xff\r\n\r\n"),
        framed(b"mesh.request.run.shop", b"{}", b"NATS/1.0\r\nno colon\r\n\xff: \xff\r\n\r\n"),
    ],
)
async def test_what_nats_py_cannot_read_is_answered_and_breaks_no_connection(mesh: Mesh, message: bytes) -> None:
    async with survived(mesh):
        before = await rejections(mesh.bus)
        await mesh.wire.send(message)

        async def answered() -> bool:
            return len(await rejections(mesh.bus)) == len(before) + 1

        await eventually(answered)


async def rejections(bus: Bus) -> list[str]:
    return [message.subject async for message in bus.replay(subjects.FACTS, "mesh.run.rejected.>")]


# --- projects ----------------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]" for name in "bcdefgh"
)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("- a\n- b\n", "metadata.yaml: must be a mapping of keys to values"),
        ("just text", "metadata.yaml: must be a mapping of keys to values"),
        ("a: 'open", "metadata.yaml:1: is no YAML: "),
        ("a: b\n" * 2, "metadata.yaml:2: the key 'a' is there twice"),
        (
            "x: !!python/object/apply:os.system [id]",
            "metadata.yaml:1: the tag tag:yaml.org,2002:python/object/apply:os",
        ),
        ("x: !secret y", "metadata.yaml:1: the tag !secret is not allowed"),
        (LAUGHS, "metadata.yaml:6: larger than 2,000,000 characters once its aliases are written out"),
        ("#" * 1_000_001, "metadata.yaml: is larger than 1,000,000 bytes"),
        ("[" * 50_000, "metadata.yaml:1: nested deeper than 64 levels"),
        (b"\xff\xfe\0", "metadata.yaml: is not UTF-8: byte 0"),
        (
            "executor_type: k9s",
            "metadata.yaml: executor_type: unknown executor type 'k9s' (project level) (did you mean",
        ),
        (
            "local_python_config: {kil_grace: 1}",
            "metadata.yaml: local_python_config.kil_grace: unknown key 'kil_grace' (project level) (did",
        ),
        ("local_python_config: 5", "metadata.yaml: local_python_config: "),
        ("retry_config: {retries: many}", "metadata.yaml: retry_config"),
        ("x: '{{ 1 / 0 }}'", "metadata.yaml:1: "),
        ("x: '{{ unknown_function() }}'", "metadata.yaml:1: "),
        ("a: 1\nx: '{{ env_var(\"A\" }}'", "metadata.yaml:2: "),
        ("{% for i in range(99999999) %}x{% endfor %}", "metadata.yaml:1: the template "),
        (
            "{% for a in 'x' * 9999 %}{% for b in 'x' * 9999 %}{% endfor %}{% endfor %}",
            "metadata.yaml:1: the template ",
        ),
        ("x: '{{ ''.__class__.__mro__ }}'", "metadata.yaml:1: "),
        ("{% include '/etc/passwd' %}", "metadata.yaml:1: "),
    ],
)
async def test_a_broken_project_is_told_where(mesh: Mesh, metadata: str | bytes, expected: str) -> None:
    async with survived(mesh):
        problems = await mesh.refusal({"pipeline": "p"}, project=mesh.project(metadata))
        assert [said(problem) for problem in problems if said(problem).startswith(expected)], problems


def blocks(*documents: str) -> str:
    return "blocks:\n" + "".join(f"- {{type: custom, language: python, {document}}}\n" for document in documents)


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        ("", "{file}: is empty"),
        ("[]", "{file}: must be a mapping of keys to values"),
        ("x: !secret y", "{file}:1: the tag !secret is not allowed"),
        (LAUGHS, "{file}:"),
        ("#" * 4_000_001, "{file}: is larger than 4,000,000 bytes"),
        ("blocks: {}", "{file}: "),
        ("blocks: []", "{file}: has no block to run"),
        ("blocks: [5]", "{file}: blocks"),
        ("blocks:\n- {uuid: only}\n", "{file}: blocks[0].type: is missing"),
        ("type: pyton\n" + ONE, "{file}: type: 'pyton' is not known (did you mean 'python'?)"),
        (
            blocks("uuid: a, upstream_blocks: [b]", "uuid: b, upstream_blocks: [c]", "uuid: c, upstream_blocks: [a]"),
            "{file}: blocks: these blocks wait for each other: ",
        ),
        (blocks("uuid: a, upstream_blocks: [a]"), "{file}: blocks: these blocks wait for each other: a → a"),
        (
            blocks("uuid: load", "uuid: send, upstream_blocks: [lod]"),
            "{file}: blocks.send.upstream_blocks: there is no block 'lod' (did you mean 'load'?)",
        ),
        (blocks("uuid: a", "uuid: a"), "{file}: blocks"),
        (blocks("uuid: ../../x"), "{file}: blocks"),
        (
            blocks("uuid: only, executor_type: k8"),
            "block only: executor_type: unknown executor type 'k8' (block level, {file}",
        ),
        (
            "executor_type: ks8\n" + ONE,
            "{file}: executor_type: unknown executor type 'ks8' (pipeline level) (did you mean",
        ),
        (
            "executor_config: {kil_grace: 1}\n" + ONE,
            "{file}: executor_config.kil_grace: unknown key 'kil_grace' (pipeline level) (did",
        ),
        (blocks("uuid: only, executor_config: {kil_grace: 1}"), "block only: executor_config.kil_grace: unknown key"),
        (
            blocks("uuid: only, executor_type: '{{ 1 / 0 }}'"),
            "block only: executor_type:1: the template fails: division by zero",
        ),
        (blocks("uuid: only, retry_config: {delay: 1.0e+300}"), "block only: retry_config: delay: "),
        (blocks("uuid: only, timeout: soon"), "{file}: blocks[0].timeout: must be a number, not text"),
        (blocks("uuid: only, configuration: {file_path: ../../etc/passwd}"), "block only: configuration: "),
    ],
)
async def test_a_broken_pipeline_is_told_where(mesh: Mesh, pipeline: str, expected: str) -> None:
    async with survived(mesh):
        problems = await mesh.refusal({"pipeline": "p"}, project=mesh.project(pipeline=pipeline))
        expected = expected.format(file="pipelines/p/metadata.yaml")
        assert [said(problem) for problem in problems if said(problem).startswith(expected)], problems


async def test_what_is_no_file_where_a_document_belongs_is_refused(mesh: Mesh) -> None:
    async with survived(mesh):
        name = mesh.project()
        (mesh.projects / name / "metadata.yaml").unlink()
        os.mkfifo(mesh.projects / name / "metadata.yaml")
        (problem,) = await mesh.refusal({"pipeline": "p"}, project=name)
        assert problem.path == "project"
        name = mesh.project()
        (mesh.projects / name / "pipelines/p/metadata.yaml").unlink()
        (mesh.projects / name / "pipelines/p/metadata.yaml").symlink_to("/etc/passwd")
        (problem,) = await mesh.refusal({"pipeline": "p"}, project=name)
        assert "leads outside" in problem.message


async def test_a_mended_project_runs(mesh: Mesh) -> None:
    async with survived(mesh):
        name = mesh.project("x: [")
        await mesh.refusal({"pipeline": "p"}, project=name)
        (mesh.projects / name / "metadata.yaml").write_text("project_type: standalone\n")

        async def runs() -> bool:
            run = str(ULID())
            await ask(mesh.bus, "run", {"id": run, "pipeline": "p"}, project=name)
            return (await eventually(lambda: ended(mesh.bus, run)))[-1].state == "completed"

        await eventually(runs)


# --- the order of requests, and who is there ---------------------------------------------------------


async def test_two_bodies_under_one_id_at_the_same_moment_are_one_run_and_one_dead_letter(mesh: Mesh) -> None:
    async with survived(mesh):
        run = str(ULID())
        await asyncio.gather(*(ask(mesh.bus, "run", {"id": run, "pipeline": name}) for name in ("one", "far")))
        letter = await mesh.letter()
        assert letter["reason"] == "id_conflict"
        assert letter["error"] == f"run {run!r} was requested before, with another body"
        await ask(mesh.bus, "cancel", {"run": run})
        await eventually(lambda: ended_or_cancelled(mesh.bus, run))
        assert (await states(mesh.bus, run)).count("accepted") == 1


async def ended_or_cancelled(bus: Bus, run: str) -> bool:
    return bool({"completed", "cancelled"} & set(await states(bus, run)))


async def test_a_run_waits_for_the_first_worker_of_its_type_and_says_so(mesh: Mesh) -> None:
    async with survived(mesh):
        run = str(ULID())
        await ask(mesh.bus, "run", {"id": run, "pipeline": "far"})
        await mesh.ends(run, "running")
        (running,) = [fact for fact in await run_facts(mesh.bus, run) if fact.state == "running"]
        (queued,) = await eventually(lambda: task_facts(mesh.bus, run))
        for fact in (running, queued):
            assert fact.reason == "waiting: no k8s worker of pool 'default' has reported"
        shown = Console(width=200)
        with shown.capture() as capture:
            shown.print(render(await Client(mesh.bus).show(run), datetime.now(UTC)))
        assert "waiting: no k8s worker of pool 'default' has reported" in capture.get()
        async with mesh_on(mesh.bus, mesh.address) as workers:
            await workers.start(Platform(), config_model=KubernetesConfig)
            await mesh.ends(run, "completed")


async def test_a_graph_too_dense_for_a_message_is_left_out_of_the_facts(mesh: Mesh) -> None:
    async with survived(mesh):
        names = [f"{n}_{'x' * 200}" for n in range(120)]
        blocks = [{"uuid": name, "type": "custom", "upstream_blocks": names[:n]} for n, name in enumerate(names)]
        project = mesh.project(pipeline=json.dumps({"blocks": blocks}))
        run = str(ULID())
        await ask(mesh.bus, "run", {"id": run, "pipeline": "p"}, project=project)
        facts = await eventually(lambda: ended(mesh.bus, run))
        assert [str(fact.state) for fact in facts] == ["accepted", "running", "completed"]
        assert facts[0].blocks
        assert {status.upstream for status in facts[0].blocks.values()} == {None}

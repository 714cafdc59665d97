"""Command blocks from request to end: real processes of a real worker, with and without a project."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from ulid import ULID

from runmesh.bus import Bus, connect, provision
from runmesh.client import Mesh
from runmesh.embedded import embedded
from runmesh.events import RequestProblem, RunFact
from runmesh.executor import Site
from runmesh.executors.local_python import Config, Executor
from runmesh.worker import Worker
from tests.eventually import eventually
from tests.shop import ask, dead_letters, resolving, run_facts, settings_for, task_facts, write_project

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), os.listdir()]))"


@dataclass(frozen=True)
class Cron:
    """A resolver and a local worker that all tests of this module share."""

    bus: Bus
    projects: Path
    mesh: Mesh

    async def run(self, *blocks: Mapping[str, Any], project: str = "cron", **request: Any) -> RunFact:
        """Submit a pipeline of these blocks, and wait for the end of its run."""
        document = {"name": "nightly", "blocks": list(blocks)}
        run = await self.mesh.submit(document, project=project, **request)
        async with asyncio.timeout(60):
            return await self.mesh.wait(run)

    async def printed(self, run: str, block: str) -> list[str]:
        """Return what a block wrote on standard output."""
        return [line async for lines in self.mesh.logs(run, block) for line in lines.lines if lines.stream == "stdout"]

    async def refusal(self, *blocks: Mapping[str, Any], project: str = "cron", **request: Any) -> list[RequestProblem]:
        """Return what is wrong with a request."""
        run = str(ULID())
        body = {"id": run, "pipeline": {"blocks": list(blocks)}, **request}
        await ask(self.bus, "run", body, project=project)
        (fact,) = await eventually(lambda: run_facts(self.bus, run))
        assert fact.state == "rejected"
        return list(fact.errors or ())


LEASE = 60.0
"""Longer than any test that runs on a loop of its own, while that of the module stands still."""


@asynccontextmanager
async def working(bus: Bus, directory: Path) -> AsyncIterator[None]:
    site = Site("runmesh", "default", "worker-1", {"PATH": "/usr/bin:/bin", "SECRET": "x"}, directory)
    settings = settings_for(directory, slots=4, ack_wait=LEASE)
    worker = Worker(
        bus, Executor(site), executor_type="local_python", config_model=Config, settings=settings, worker_id="worker-1"
    )
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.drain()
        async with asyncio.timeout(60):
            await running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cron(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cron]:
    projects = tmp_path_factory.mktemp("projects")
    write_project(projects / "shop")
    async with (
        embedded() as server,
        connect(server.url, name="asks", token=server.token) as bus,
        connect(server.url, name="resolves", token=server.token) as resolvers,
        connect(server.url, name="works", token=server.token) as workers,
    ):
        await provision(bus, ack_wait=LEASE)
        async with resolving(resolvers, settings_for(projects)), working(workers, tmp_path_factory.mktemp("worker")):
            yield Cron(bus, projects, Mesh(bus))


def python(uuid: str, source: str, *arguments: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "command": [sys.executable, "-c", source, *arguments], **more}


async def states_of(cron: Cron, run: str, block: str) -> list[str]:
    return [str(fact.state) for fact in await task_facts(cron.bus, run) if fact.block == block]


# --- what runs ---------------------------------------------------------------------------------------


async def test_two_commands_run_one_after_the_other_without_any_project(cron: Cron, tmp_path: Path) -> None:
    file = tmp_path / "result"
    ended = await cron.run(
        {"uuid": "count", "command": ["sh", "-c", f"echo 41 > {file}"]},
        {"uuid": "add", "type": "command", "upstream_blocks": ["count"], "command": ["sed", "s/1/2/", str(file)]},
    )
    assert (ended.state, ended.project, ended.pipeline) == ("completed", "cron", "nightly")
    assert await cron.printed(ended.run, "add") == ["42"]
    assert not (cron.projects / "cron").exists()


async def test_arguments_and_environment_arrive_to_the_last_character(cron: Cron) -> None:
    argv = ["", "a  b", "'$HOME' \"`x`\"", "*", "{{ 1 + 1 }}", "{run}", "naïve 🌊", "line\nline", "--run", "{run}"]
    ended = await cron.run(
        python("show", SHOW, *argv, environment={"CITY": "Zürich = $HOME\n'"}), variables={"day": 3, "café": "☕"}
    )
    assert ended.state == "completed"
    ((found, environment, directory, files),) = map(json.loads, await cron.printed(ended.run, "show"))
    assert found == argv
    assert environment["CITY"] == "Zürich = $HOME\n'"
    assert json.loads(environment.pop("RUNMESH_VARIABLES")) == {"day": 3, "café": "☕"}
    ours = {name: value for name, value in environment.items() if name.startswith("RUNMESH_")}
    assert ours.pop("RUNMESH_KEY")
    assert ours.pop("RUNMESH_SUPERVISOR")
    assert ours == {
        "RUNMESH_RUN": ended.run,
        "RUNMESH_BLOCK": "show",
        "RUNMESH_ATTEMPT": "1",
        "RUNMESH_PROJECT": "cron",
        "RUNMESH_PIPELINE": "nightly",
    }
    assert "SECRET" not in environment
    assert files == []
    await eventually(lambda: not Path(directory).exists())


async def test_in_a_project_a_command_works_in_its_folder(cron: Cron) -> None:
    ended = await cron.run({"uuid": "where", "command": ["pwd"]}, project="shop")
    assert await cron.printed(ended.run, "where") == [str(cron.projects / "shop")]


async def test_a_python_block_below_a_command_gets_an_empty_list(cron: Cron) -> None:
    source = "@custom\ndef run(above, *args, **kwargs):\n    print('got', above)\n    return 1\n"
    ended = await cron.run(
        {"uuid": "first", "command": ["true"]},
        {"uuid": "second", "type": "custom", "upstream_blocks": ["first"], "content": source},
        {"uuid": "third", "command": ["echo", "done"], "upstream_blocks": ["second"]},
        project="shop",
        variables={},
    )
    assert ended.state == "completed", ended.reason
    assert "got []" in await cron.printed(ended.run, "second")
    assert await cron.printed(ended.run, "third") == ["done"]


async def test_a_command_is_tried_again_and_knows_which_time_it_is(cron: Cron) -> None:
    source = "import os, sys; n = os.environ['RUNMESH_ATTEMPT']; print(n); sys.exit(2 if n < '3' else 0)"
    ended = await cron.run(python("flaky", source, retry_config={"retries": 2, "delay": 0}))
    assert ended.state == "completed"
    assert await cron.printed(ended.run, "flaky") == ["1", "2", "3"]
    causes = [fact.cause for fact in await task_facts(cron.bus, ended.run) if fact.state == "retrying"]
    assert causes == ["user", "user"]  # an exit code 2 has a meaning for our runtime only


async def test_a_command_that_takes_too_long_is_stopped(cron: Cron) -> None:
    ended = await cron.run({"uuid": "slow", "command": ["sleep", "300"], "timeout": 0.5})
    assert ended.state == "failed"
    (failed,) = [fact for fact in await task_facts(cron.bus, ended.run) if fact.state == "failed"]
    assert failed.cause == "timeout"


async def test_a_program_that_is_not_there_fails_its_block_at_once(cron: Cron) -> None:
    ended = await cron.run({"uuid": "lost", "command": ["no-such-program"], "retry_config": {"retries": 5}})
    assert ended.state == "failed"
    (failed,) = [fact for fact in await task_facts(cron.bus, ended.run) if fact.state == "failed"]
    assert (failed.cause, failed.attempt) == ("config", 1)
    assert "no-such-program: No such file or directory" in str(failed.reason)


async def test_what_is_below_a_failed_command_does_not_run(cron: Cron) -> None:
    below = {"uuid": "below", "command": ["true"], "upstream_blocks": ["bad"]}
    ended = await cron.run({"uuid": "bad", "command": ["false"]}, below)
    assert ended.state == "failed"
    assert await states_of(cron, ended.run, "below") == ["upstream_failed"]


async def test_a_retry_without_a_project_keeps_what_completed(cron: Cron, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    below = {"uuid": "below", "command": ["test", "-e", str(mark)], "upstream_blocks": ["above"]}
    ended = await cron.run({"uuid": "above", "command": ["echo", "once"]}, below)
    assert ended.state == "failed"
    mark.touch()
    again = await cron.mesh.retry(ended.run)
    async with asyncio.timeout(60):
        assert (await cron.mesh.wait(again)).state == "completed"
    assert await states_of(cron, again, "above") == []


async def test_a_run_that_takes_too_long_ends_as_the_request_says(cron: Cron) -> None:
    block = {"uuid": "slow", "command": ["sleep", "300"]}
    ended = await cron.run(block, timeout=0.3, timeout_status="cancelled")
    assert (ended.state, ended.reason) == ("cancelled", "the run exceeded its timeout of 0.3 s")
    assert (await cron.run(block, timeout=0.3)).state == "failed"


# --- triggers ----------------------------------------------------------------------------------------


async def test_a_trigger_gives_variables_a_timeout_and_its_end(cron: Cron) -> None:
    folder = cron.projects / "shop" / "pipelines" / "hourly"
    folder.mkdir()
    block = python("slow", "import os, time; print(os.environ['RUNMESH_VARIABLES'], flush=True); time.sleep(300)")
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"variables": {"a": 0, "b": 0, "c": 0}, "blocks": [block]}))
    settings = {"timeout": 2, "timeout_status": "cancelled"}
    trigger = {"name": "hourly", "variables": {"b": 1, "c": 1}, "settings": settings}
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}))
    run = await cron.mesh.submit("hourly", project="shop", trigger_name="hourly", variables={"c": 2})
    async with asyncio.timeout(60):
        ended = await cron.mesh.wait(run)
    assert (ended.state, ended.reason) == ("cancelled", "the run exceeded its timeout of 2 s")
    assert [json.loads(line) for line in await cron.printed(run, "slow")] == [{"a": 0, "b": 1, "c": 2}]


# --- what is refused ---------------------------------------------------------------------------------


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a shell string": ({"command": "echo hi"}, 'must be a list of arguments, not text (write command: ["echo", "hi"])'),
    "no arguments": ({"command": []}, "command: is empty"),
    "an empty program": ({"command": [""]}, "command[0]: is empty"),
    "a NUL in an argument": ({"command": ["a", "b\0c"]}, "command[1]: holds a NUL"),
    "a number": ({"command": ["sleep", 5]}, 'command[1]: must be text, not a number (in quotes: "5")'),
    "an argument too long": ({"command": ["a", "x" * 100_001]}, "command[1]: takes 100 KB"),
    "a megabyte of environment": ({"environment": {"A": "x" * 900_000}}, "environment.A: takes 900 KB"),
    "many variables": ({"environment": {f"A{n}": "x" * 900 for n in range(900)}}, "environment: takes 815 KB"),
    "a NUL in a variable": ({"environment": {"A": "\0"}}, "environment.A: holds a NUL"),
    "a name with an equals sign": ({"environment": {"A=B": "x"}}, "'A=B' is no name of a variable"),
    "an empty name": ({"environment": {"": "x"}}, "'' is no name of a variable"),
    "a name with a NUL": ({"environment": {"A\0": "x"}}, "is no name of a variable"),
    "a name of ours": ({"environment": {"RUNMESH_RUN": "x"}}, "begins with RUNMESH_"),
    "an image on local_python": ({"image": "alpine"}, "block only: image: local_python runs no images"),
    "a dynamic command": ({"configuration": {"dynamic": True}}, "only blocks of the native runtime can"),
    "callbacks": ({"has_callback": True}, "only blocks of the native runtime can"),
    "another type": ({"type": "custom"}, "type: must be 'command' where there is a command"),
    "a cycle": ({"upstream_blocks": ["only"]}, "these blocks wait for each other: only → only"),
}


def said(problem: RequestProblem) -> str:
    return f"{problem.path}: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_is_told_what_is_wrong_and_disturbs_nothing(cron: Cron, what: str) -> None:
    block, expected = BAD[what]
    problems = await cron.refusal({"uuid": "only", "command": ["true"], **block})
    assert [problem for problem in problems if expected in said(problem)], problems
    assert (await cron.run({"uuid": "good", "command": ["true"]})).state == "completed"
    assert await dead_letters(cron.bus) == []


async def test_variables_too_large_for_an_environment_are_refused(cron: Cron) -> None:
    (problem,) = await cron.refusal({"uuid": "only", "command": ["true"]}, variables={"x": "y" * 200_000})
    assert problem.path == "request: variables"


async def test_an_unknown_project_is_needed_by_any_other_block(cron: Cron) -> None:
    problems = await cron.refusal({"uuid": "a", "type": "custom", "content": "x"}, project="shpo")
    assert [said(problem) for problem in problems] == [
        "project: there is no project 'shpo' (did you mean 'shop'?, only a pipeline of command blocks needs none)"
    ]


@pytest.mark.parametrize("name", ["..", "../shop", "/etc", ".hidden", "a\0b"])
async def test_a_strange_project_is_refused_without_a_folder_too(cron: Cron, name: str) -> None:
    (problem,) = await cron.refusal({"uuid": "a", "command": ["true"]}, project=name)
    assert problem.path == "project"


@pytest.mark.asyncio(loop_scope="function")
async def test_inline_commands_are_refused_where_inline_pipelines_are(bus: Bus, tmp_path: Path) -> None:
    async with resolving(bus, settings_for(tmp_path, allow_inline=False)):
        await ask(bus, "run", {"id": "r1", "pipeline": {"blocks": [{"uuid": "a", "command": ["true"]}]}})
        (fact,) = await eventually(lambda: run_facts(bus, "r1"))
    assert [problem.hint for problem in fact.errors or ()] == ["set RUNMESH_ALLOW_INLINE"]

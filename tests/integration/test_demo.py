"""The demo as a newcomer meets it, and its run where processes are killed in the middle."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

import runmesh
from runmesh import filters, subjects
from runmesh.bus import Bus, Message, connect, provision
from runmesh.client import Mesh
from runmesh.cloudevents import decode
from runmesh.embedded import Server
from runmesh.events import FINAL_RUN_STATES, RunFact, RunState, TaskFact, TaskState
from runmesh.projects import load_pipeline, load_project, variables_of
from runmesh.runtime.outputs import Outputs
from runmesh.view import Fact
from tests.eventually import eventually

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
LEASE = 4.0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that holds the demo where a clone of the repository has it."""
    leave = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(DEMO, tmp_path / "deploy" / "demo", ignore=leave)
    return tmp_path


def clean_environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUNMESH_", "MAGE_"))}
    return {**inherited, "COLUMNS": "80", **more}


async def start(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runmesh", *arguments, cwd=cwd, env=dict(environment), stdout=PIPE, stderr=STDOUT
    )


async def runmesh_says(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> tuple[int | None, str]:
    process = await start(*arguments, cwd=cwd, environment=environment)
    try:
        async with asyncio.timeout(200):
            written, _ = await process.communicate()
    finally:
        await kill(process)
    return process.returncode, written.decode()


def processes_with(mark: str) -> list[str]:
    """Name the processes that have this text in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environ.read_bytes():
                found.append((environ.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


class TestTheDemo:
    async def test_runs_to_the_end_and_shows_what_came_out(self, clone: Path) -> None:
        code, text = await runmesh_says("demo", cwd=clone, environment=clean_environment())

        assert code == 0, text
        assert "the isotope laboratory is busy" in text
        assert "9 of 9" in text
        tree = next(line for line in text.splitlines() if "─ ✓ load_isotopes" in line)
        assert "try 2" in tree
        assert "Chinstrap" in text
        report = clone / "deploy" / "demo" / ".runmesh" / "report.html"
        assert str(report.relative_to(clone)) in text
        assert "Simpson's paradox" in report.read_text()
        assert not list((clone / ".runmesh").iterdir()), "the mesh's own files vanish with it"

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    async def test_leaves_nothing_running_when_it_is_interrupted(self, clone: Path) -> None:
        mark = uuid4().hex  # jobs inherit MAGE_*
        demo = await start("demo", cwd=clone, environment=clean_environment(MAGE_TEST_MARK=mark))
        assert demo.stdout
        async with asyncio.timeout(200):
            while b"load_penguins" not in (line := await demo.stdout.readline()):
                assert line, "it ended before a block ran"
            demo.send_signal(signal.SIGINT)
            rest = await demo.stdout.read()
            code = await demo.wait()

        assert code == 130, rest.decode()
        assert "nothing is left running" in rest.decode()
        await eventually(lambda: not processes_with(mark))
        assert not list((clone / ".runmesh").iterdir())

    async def test_says_in_one_line_that_a_package_brings_no_demo(self, tmp_path: Path) -> None:
        package = Path(runmesh.__file__).parent
        shutil.copytree(package, tmp_path / "site" / "runmesh", ignore=shutil.ignore_patterns("__pycache__"))
        environment = clean_environment(PYTHONPATH=str(tmp_path / "site"))

        code, text = await runmesh_says("demo", cwd=tmp_path, environment=environment)

        assert code == 2
        assert text.startswith("runmesh: demo: there is no deploy/demo here")
        assert text.count("\n") == 1


class TestItsCommands:
    async def test_explain_names_the_level_of_every_value(self, clone: Path) -> None:
        code, text = await runmesh_says(
            "explain", "deploy/demo", "penguins", cwd=clone, environment=clean_environment()
        )

        assert code == 0, text
        values = [line.split() for line in text.splitlines() if line.startswith("  ") and "not used" not in line]
        levels = {words[-1] for words in values}
        assert levels == {"default", "project", "pipeline", "block"}


@asynccontextmanager
async def service(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run a service that is killed at the end, if not before."""
    log = (cwd / f"{arguments[0]}.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runmesh", *arguments, cwd=cwd, env=dict(environment), stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        log.close()
        await kill(process)


async def kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def held(project: Path, block: str) -> Path:
    """Have a block wait for as long as a file is there; return that file."""
    (code,) = project.glob(f"*/{block}.py")
    code.with_suffix(".held").touch()
    waits = f"import os, time\nwhile os.path.exists({str(code.with_suffix('.held'))!r}):\n    time.sleep(0.05)\n"
    code.write_text(waits + code.read_text())
    return code.with_suffix(".held")


async def until(mesh: Mesh, run: str, block: str, *states: TaskState) -> None:
    async def there() -> bool:
        found = (await mesh.show(run)).blocks.get(block)
        return found is not None and found.state in states

    await eventually(there, within=60, every=0.05)


async def facts(bus: Bus, run: str) -> list[Fact]:
    """Return all that is stored of a run, copies and late ones too."""
    return [fact_in(message) async for message in bus.replay(subjects.FACTS, *filters.facts_of_run(run))]


def fact_in(message: Message) -> Fact:
    if message.subject.startswith("mesh.run."):
        return decode(RunFact, message.headers, message.data)
    return decode(TaskFact, message.headers, message.data)


class TestItsRun:
    async def test_survives_the_death_of_the_worker_and_of_the_resolver(self, clone: Path, nats_server: Server) -> None:
        environment = clean_environment(
            RUNMESH_NATS_URL=nats_server.url,
            RUNMESH_NATS_TOKEN=nats_server.token,
            RUNMESH_PROJECTS_DIR=str(clone / "deploy"),
            RUNMESH_ACK_WAIT=str(LEASE),
            RUNMESH_SWEEP_INTERVAL="1",
        )
        resolver = ("resolver",)
        executor = ("executor", "local_python")
        async with connect(nats_server.url, name="test", token=nats_server.token) as bus:
            await provision(bus, ack_wait=LEASE)
            mesh = Mesh(bus)
            run = await mesh.submit("penguins", project="demo")
            loading, cleaning = (held(clone / "deploy" / "demo", block) for block in ("load_penguins", "clean"))

            async with service(*resolver, cwd=clone, environment=environment) as first_resolver:
                async with service(*executor, cwd=clone, environment=environment):
                    await until(mesh, run, "load_penguins", TaskState.RUNNING)  # and then the worker is killed
                loading.unlink()
                async with service(*executor, cwd=clone, environment=environment):
                    await until(mesh, run, "clean", TaskState.RUNNING)
                    await kill(first_resolver)
                    cleaning.unlink()
                    async with service(*resolver, cwd=clone, environment=environment), asyncio.timeout(200):
                        assert (await mesh.wait(run)).state is RunState.COMPLETED

            stored = await facts(bus, run)
        assert [fact.state for fact in stored if fact.state in FINAL_RUN_STATES and isinstance(fact, RunFact)] == [
            RunState.COMPLETED
        ]
        completed = [fact for fact in stored if isinstance(fact, TaskFact) and fact.state is TaskState.COMPLETED]
        assert len(completed) == len({fact.block for fact in completed}) == 9
        by_block = {fact.block: fact for fact in completed}
        assert by_block["load_isotopes"].attempt == 2
        assert by_block["load_penguins"].resubmission == 1, "it was running when its worker was killed"
        self.check_results(clone / "deploy" / "demo", run)

    @staticmethod
    def check_results(project_dir: Path, run: str) -> None:
        project = load_project(project_dir, {})
        pipeline = load_pipeline(project, "penguins")
        outputs = Outputs(variables_of(project, pipeline, {}), pipeline.uuid, run)
        summary = outputs.read(pipeline.blocks["summary"])
        assert list(summary.species) == ["Adelie", "Chinstrap", "Gentoo", "all"]
        assert list(summary.penguins) == [151, 68, 123, 342]
        assert Path(outputs.read(pipeline.blocks["report"])).is_file()

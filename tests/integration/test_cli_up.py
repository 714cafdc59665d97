"""`runmesh up`, as a person uses it: a mesh in one terminal, runs from another."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.eventually import eventually

PIPELINE = """
name: orders
uuid: orders
type: python
blocks:
- {uuid: load, name: load, type: data_loader, language: python, upstream_blocks: [], downstream_blocks: [send]}
- {uuid: send, name: send, type: data_exporter, language: python, upstream_blocks: [load], downstream_blocks: []}
"""
LOAD = """
import os, time

@data_loader
def load(*args, **kwargs):
    print("loading", flush=True)
    while kwargs.get("until") and not os.path.exists(kwargs["until"]):
        time.sleep(0.02)
    return [1, 2, 3]
"""
SEND = """
@data_exporter
def send(rows, *args, **kwargs):
    if kwargs.get("boom"):
        raise KeyError("age")
    print("sent", len(rows))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "metadata.yaml": "project_type: standalone\nvariables_dir: ../variables\n",
        "pipelines/orders/metadata.yaml": PIPELINE,
        "data_loaders/load.py": LOAD,
        "data_exporters/send.py": SEND,
    }
    for name, text in files.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "shop"


def environment() -> Mapping[str, str]:
    """What a person's shell has: nothing of the mesh, and a short lease so that take-overs are quick."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RUNMESH_")}
    return {**plain, "RUNMESH_ACK_WAIT": "2", "RUNMESH_SWEEP_INTERVAL": "1"}


@asynccontextmanager
async def started(directory: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that runs; interrupted by Ctrl-C, unless it has ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runmesh", *arguments),
        cwd=directory,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.communicate()


async def runmesh(directory: Path, *arguments: str) -> tuple[int | None, str, str]:
    async with started(directory, *arguments) as process:
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def up(directory: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A mesh that is ready; stopped with all that it runs."""
    async with started(directory, "up", *arguments) as process:
        assert process.stdout
        async with asyncio.timeout(200):
            async for line in process.stdout:
                if b"Ctrl-C" in line:
                    break
        yield process


def descendants(pid: int) -> list[int]:
    """Every process below one, by /proc."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        for child in map(int, read(pid, f"task/{thread.name}/children").split()):
            found += [child, *descendants(child)]
    return found


def service(pid: int, name: str) -> int:
    """The process of one of the services below `up`."""
    return next(child for child in descendants(pid) if f"\0{name}\0" in read(child, "cmdline"))


def alive(pid: int) -> bool:
    status = read(pid, "status")
    return bool(status) and "\nState:\tZ" not in status


def read(pid: int, file: str) -> str:
    """Read what /proc says of a process; nothing if it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return ""


async def test_a_pipeline_runs_and_everything_ends_with_ctrl_c(project: Path) -> None:
    home = project.parent
    async with up(home, "shop") as mesh:
        code, out, err = await runmesh(home, "submit", "orders", "--watch")
        assert (code, "✓ completed        send on local_python" in out) == (0, True), err
        run = json.loads((await runmesh(home, "runs", "--json"))[1])["run"]
        assert (await runmesh(home, "logs", run, "send"))[1] == "sent 3\n"
        assert (await runmesh(home, "doctor"))[0] == 0
        assert (await runmesh(home, "submit", "oders"))[0] == 3
        below = descendants(mesh.pid)
        mesh.send_signal(signal.SIGINT)
        await mesh.communicate()
    assert mesh.returncode == 0
    assert not (home / ".runmesh" / "nats.json").exists()
    await eventually(lambda: not [pid for pid in below if alive(pid)])


async def test_a_failed_run_is_retried_after_a_restart_of_the_whole_mesh(project: Path) -> None:
    home = project.parent
    async with up(home, "shop"):
        code, _, err = await runmesh(home, "submit", "orders", "--watch", "--id", "first", "--var", "boom=true")
        assert (code, "runmesh retry first" in err) == (1, True)
    (project / "data_exporters/send.py").write_text(SEND.replace('"boom"', '"nothing"'))
    shutil.rmtree(home / "variables" / ".runmesh" / "first")  # nobody reads it once its run has ended
    async with up(home, "shop"):
        code, out, err = await runmesh(home, "retry", "first", "--watch")
        assert (code, " load on " in out) == (0, False), out + err
        completed = out.partition(" run ")[2].split()[0]
        assert (await runmesh(home, "retry", completed))[0] == 3


async def test_a_killed_executor_and_a_killed_resolver_are_started_again_and_the_run_completes(
    project: Path, tmp_path: Path
) -> None:
    home, flag = project.parent, tmp_path / "flag"
    watching = ("submit", "orders", "--watch", "--var", f"until={flag}")
    async with up(home, "shop") as mesh, started(home, *watching) as following:
        assert following.stdout
        async for line in following.stdout:
            if b"running          load" in line:
                break
        os.kill(service(mesh.pid, "executor"), signal.SIGKILL)
        os.kill(service(mesh.pid, "resolver"), signal.SIGKILL)
        flag.touch()
        out, _ = await following.communicate()
    assert following.returncode == 0, out.decode()
    assert out.decode().count("completed        run ") == 1


async def test_nothing_outlives_a_killed_mesh(project: Path) -> None:
    async with up(project.parent, "shop") as mesh:
        below = descendants(mesh.pid)
        assert len(below) >= 3
        mesh.kill()
        await mesh.communicate()
    await eventually(lambda: not [pid for pid in below if alive(pid)])

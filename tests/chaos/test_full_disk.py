"""A disk that is full under the NATS server: what was stored stays, and all goes on when there is room again."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runmesh.embedded import embedded
from runmesh.errors import BusError
from tests.chaos.audit import audit, ended
from tests.chaos.matrix import LONG
from tests.chaos.mesh import running_mesh, working
from tests.chaos.service import REMOTE
from tests.eventually import eventually
from tests.shop import ask

SIZE = 48
RUNS = 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of some megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.skipif(not LONG, reason="RUNMESH_CHAOS=long")
@pytest.mark.timeout(300)
async def test_a_full_disk_loses_nothing_that_was_confirmed(tmp_path: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    async with embedded(small_disk / "store") as server, running_mesh(tmp_path, [server], (), {}) as mesh:
        mesh.folder.write_pipeline("short", [{"uuid": "work", "command": mesh.folder.script("sleep 0.2")}])
        mesh.keep("resolver")
        mesh.keep("worker", REMOTE)
        await working(mesh, 1)
        confirmed = [f"before-{number}" for number in range(RUNS)]
        for run in confirmed:
            await ask(mesh.bus, "run", {"id": run, "pipeline": "short", "executor_type": REMOTE})
        await asyncio.to_thread(_fill, filler)
        for number in range(RUNS):
            run = f"during-{number}"
            with suppress(BusError, TimeoutError):  # not confirmed, and the submitter knows
                async with asyncio.timeout(2):
                    await ask(mesh.bus, "run", {"id": run, "pipeline": "short", "executor_type": REMOTE})
                confirmed.append(run)
                continue
            break
        assert len(confirmed) < 2 * RUNS, "the disk was not full"
        filler.unlink()
        mesh.kill("nats")
        await eventually(lambda: mesh.deaths["nats"], within=30)
        assert not await ended(mesh, confirmed, within=90), mesh.said()
        found = await audit(mesh, confirmed, within=30)
        assert not found.findings, "\n".join([*found.findings, mesh.said()])


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))

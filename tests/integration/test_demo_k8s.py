"""`make demo-k8s` as a newcomer meets it: every block a Job, on an emulated cluster."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_the_demo_runs_as_jobs(tmp_path: Path) -> None:
    leave = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT / "deploy" / "demo", tmp_path / "deploy" / "demo", ignore=leave)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUNMESH_", "MAGE_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.emulators.demo"),
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdout=PIPE,
        stderr=STDOUT,
    )
    async with asyncio.timeout(200):
        written, _ = await process.communicate()
    said = written.decode()
    assert process.returncode == 0, said
    assert "9 of 9" in said
    assert "report on k8s" in said
    assert "on local_python" not in said

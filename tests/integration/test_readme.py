"""What the README says works, as typed: its `sh` and `python` blocks run beside `runmesh up`."""

import asyncio
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUNMESH_", "MAGE_"))}
    return {**inherited, "PATH": f"{Path(sys.executable).parent}:{inherited['PATH']}"}


def demo_with_quick_blocks(target: Path) -> None:
    """Copy the demo, with blocks that do nothing: here it is the examples that are tested."""
    shutil.copytree(ROOT / "deploy" / "demo", target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for source in target.glob("*/*.py"):
        decorator = source.parent.name.removesuffix("s")
        source.write_text(f"@{decorator}\ndef run(*args):\n    return [1]\n")


@asynccontextmanager
async def up(clone: Path) -> AsyncIterator[None]:
    """Run `runmesh up deploy/demo`, as the README asks for."""
    process = await asyncio.create_subprocess_exec(
        "runmesh", "up", "deploy/demo", cwd=clone, env=environment(), stdout=PIPE, stderr=STDOUT
    )
    assert process.stdout
    try:
        async with asyncio.timeout(200):
            while b"runmesh is up" not in (line := await process.stdout.readline()):
                assert line, "it ended at once"
        await eventually((clone / ".runmesh" / "nats.json").is_file)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def run(language: str, text: str, cwd: Path) -> str:
    command = ("sh", "-e", "-c", text) if language == "sh" else (sys.executable, "-c", text)
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=environment(), stdout=PIPE, stderr=STDOUT)
    async with asyncio.timeout(200):
        written, _ = await process.communicate()
    assert process.returncode == 0, f"{text}\n{written.decode()}"
    return written.decode()


async def test_every_example_works_as_typed(tmp_path: Path) -> None:
    demo_with_quick_blocks(tmp_path / "deploy" / "demo")
    blocks = BLOCK.findall((ROOT / "README.md").read_text())

    async with up(tmp_path):
        outputs = [await run(language, text, tmp_path) for language, text in blocks]

    assert [language for language, _ in blocks] == ["sh", "python", "python"]
    for output in outputs:
        assert "completed" in output

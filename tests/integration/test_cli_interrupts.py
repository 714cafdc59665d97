"""A signal at a point where a command has not begun: it ends at once, and without a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

AT_IMPORT = """
import importlib.abc, os, runpy, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupt())
runpy.run_module("runmesh", run_name="__main__")
"""
AT_LOOP = """
import asyncio, os, runpy, signal

class Interrupt(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        os.kill(os.getpid(), signal.SIGINT)
        return super().new_event_loop()

asyncio.set_event_loop_policy(Interrupt())
runpy.run_module("runmesh", run_name="__main__")
"""


def ended(script: str, *arguments: str, directory: Path) -> tuple[int, str]:
    """Run a script as the program, and return its exit code and what it wrote to stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNMESH_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=directory,
        env=environment | {"RUNMESH_NATS_URL": "nats://127.0.0.1:9"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("name", "number"),
    [("typer", signal.SIGTERM), ("runmesh.cli.services", signal.SIGINT), ("uvloop", signal.SIGINT)],
)
def test_while_a_service_is_imported(name: str, number: signal.Signals, tmp_path: Path) -> None:
    """The last of these comes when the service is made, and not yet begun."""
    script = AT_IMPORT.format(name=name, number=number.value)
    assert ended(script, "executor", "local_python", directory=tmp_path) == (128 + number, "")


def test_before_a_command_begins(tmp_path: Path) -> None:
    assert ended(AT_LOOP, "runs", directory=tmp_path) == (130, "")

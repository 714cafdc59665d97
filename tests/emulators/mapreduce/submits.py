"""spark-submit: its program as a real process on this machine.

The script and what `--py-files` names are fetched from the buckets. A driver in cluster mode outlives its spark-submit;
one in client mode is told to stop when that is killed, as it finds out itself on a real node.
"""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.emulators.mapreduce.buckets import Buckets

_GRACE = 2.0
_SDK = str(Path(__file__).with_name("sdk"))


class Submit(NamedTuple):
    """What a spark-submit is asked to do."""

    script: str
    options: Mapping[str, str]
    confs: Mapping[str, str]

    @classmethod
    def of(cls, argv: Sequence[str]) -> "Submit":
        """Read the arguments: every option has a value."""
        options: dict[str, str] = {}
        confs: dict[str, str] = {}
        for name, value in zip(argv[1:-1:2], argv[2:-1:2], strict=True):
            assert name.startswith("--"), argv
            if name == "--conf":
                key, _, confs[key] = value.partition("=")
            else:
                options[name] = value
        return cls(argv[-1], options, confs)

    @property
    def in_cluster(self) -> bool:
        return self.options.get("--deploy-mode") == "cluster"


class Driver:
    """A driver's process, with all its children."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def end(self) -> None:
        """Stop it: TERM, and after a while KILL."""
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self.process.wait()
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def kill(self) -> None:
        """Stop it before it can say a word."""
        self._signal(signal.SIGKILL)

    async def seen(self) -> None:
        """Kill it, if it runs: one that ended unseen would be told of after the event loop has gone."""
        if self.alive:
            self.kill()
        await self.over()

    async def over(self) -> tuple[int, bytes]:
        """Wait for its exit code, and what it wrote to stderr."""
        _, errors = await self.process.communicate()
        return self.process.returncode or 0, errors

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


async def start(
    submit: Submit, buckets: Buckets, directory: Path, environment: Mapping[str, str], spark: str | None, *, sdk: bool
) -> Driver:
    """Start a driver; `spark` is the folder of a real spark-submit's program, or None. `sdk`: it finds the real one."""
    os.makedirs(directory)  # noqa: PTH103 - as good, and no blocking call by ruff's lights
    script = _fetched(buckets, submit.script, directory)
    code = submit.options.get("--py-files")
    files = [str(_fetched(buckets, code, directory))] if code else []
    command = [sys.executable, str(script)]
    if spark:
        brought = ["--py-files", files[0]] if files else []
        command = [f"{spark}/spark-submit", "--master", "local[2]", *brought, str(script)]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**environment, "PYTHONPATH": ":".join([*files, *([] if sdk else [_SDK])]), "TMPDIR": str(directory)},
        cwd=directory,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    return Driver(process)


def order_of(program: bytes) -> dict[str, Any]:
    """Return what a stored script is to do."""
    found = re.search(rb"^ORDER = (.*)$", program, re.MULTILINE)
    assert found, program
    order: dict[str, Any] = json.loads(eval(found[1]))  # noqa: S307 - a text that our own executor wrote
    return order


def _fetched(buckets: Buckets, url: str, directory: Path) -> Path:
    path = directory / url.rpartition("/")[2]
    path.write_bytes(buckets.read(url))
    return path

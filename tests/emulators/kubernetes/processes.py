"""A container as a local process: a group of its own, its output in one stream, its last words in a file."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_LINE_LIMIT: Final = 16 * 2**20


class Container:
    """One process, from its start to its end."""

    def __init__(self, process: Process, printed: Callable[[bytes], None]) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(printed))
        self._output: list[asyncio.Task[None]] = [self._reading]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process.returncode is None

    @classmethod
    async def start(
        cls, argv: Sequence[str], environment: Mapping[str, str], directory: Path, printed: Callable[[bytes], None]
    ) -> "Container":
        """Start it. Raises OSError if there is no such program."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environment),
            cwd=directory,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        return cls(process, printed)

    async def end(self) -> int:
        """Wait for its end and its last line; return the exit code as a shell tells it."""
        code = await self._process.wait()
        self.kill(group=True)  # with its first process a container ends
        await self._reading
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Signal its first process."""
        if self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self, *, group: bool = False) -> None:
        """Kill all of it."""
        if self.running or group:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self, printed: Callable[[bytes], None]) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            printed(line)

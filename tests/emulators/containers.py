"""What a platform runs: containers as local processes, and the tasks that see them through their lives."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

BARE: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""The environment of a container for which nobody says anything."""
_LINE_LIMIT: Final = 16 * 2**20


class Lives:
    """What goes on beside the calls: nothing fails without a word, and nothing outlives `close`."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._living: set[asyncio.Task[None]] = set()
        self._containers: list[Container] = []

    def begin(self, life: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let something go on."""
        task = asyncio.create_task(life)
        self._living.add(task)
        task.add_done_callback(self._buried)
        return task

    async def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *printed: Callable[[bytes], None],
    ) -> "Container":
        """Start a container; one takes its lines, or one those of stdout and one those of stderr.

        Raises OSError if there is no such program.
        """
        container = await Container.start(argv, environment, directory, *printed)
        self._containers.append(container)
        return container

    async def close(self) -> None:
        """Cancel and kill all. A process that ended unseen would be told of after the event loop has gone."""
        for task in self._living:
            task.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        await asyncio.gather(*(container.drop() for container in self._containers if not container.over))

    def _buried(self, task: asyncio.Task[None]) -> None:
        self._living.discard(task)
        if not task.cancelled() and (error := task.exception()):
            sys.stderr.write(f"the emulator's {self._whose} failed: {error!r}\n")


class Container:
    """One process, from its start to its end: a group of its own, its output in one stream or in two."""

    def __init__(self, process: Process, reading: Sequence[asyncio.Task[None]]) -> None:
        self._process, self._reading = process, reading
        self.over = False
        """Whether somebody has seen its end."""

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
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *printed: Callable[[bytes], None],
    ) -> "Container":
        """Start it."""
        # Pipes of our own: asyncio waits for the end of its pipes, which what a process has started may hold open.
        pipes = [os.pipe() for _ in printed]
        reading = [asyncio.create_task(_read(pipe[0], each)) for pipe, each in zip(pipes, printed, strict=True)]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(environment),
                cwd=directory,
                stdin=DEVNULL,
                stdout=pipes[0][1],
                stderr=pipes[1][1] if pipes[1:] else STDOUT,
                start_new_session=True,
            )
        finally:
            for _, writable in pipes:
                os.close(writable)
        return cls(process, reading)

    async def end(self) -> int:
        """Wait for its end and its last line; return the exit code as a shell tells it."""
        code = await self._process.wait()
        self.kill(group=True)  # with its first process a container ends
        await asyncio.gather(*self._reading)
        self.over = True
        return code if code >= 0 else 128 - code

    async def drop(self) -> None:
        """Kill it and see its end, whoever may hold its output open."""
        self.kill(group=True)
        await self._process.wait()
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

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


async def _read(descriptor: int, printed: Callable[[bytes], None]) -> None:
    """Take the lines until nobody holds the other end of the pipe any more."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    loop = asyncio.get_running_loop()
    with os.fdopen(descriptor, "rb") as pipe:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            async for line in reader:
                printed(line)
        finally:
            transport.close()

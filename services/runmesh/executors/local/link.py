"""The worker's end of the line to its supervisor process (see `supervisor.py` for what is said on it).

Messages arrive by callback, so an end of a job is known the moment it was told. The end of the line means
that the supervisor is no more. If it was killed, the kernel killed its jobs with it, but not what they had
started: every process below a supervisor carries its name in the environment, and is found by that.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

from runmesh.executors.local.processes import carries, send_signal

_SUPERVISE: Final = """
import sys
sys.path.append(sys.argv[1])
from runmesh.executors.local.supervisor import main
main(int(sys.argv[2]))
"""
_PACKAGES: Final = str(Path(__file__).parents[3])
_ROUNDS: Final = 5
_NAME: Final = "RUNMESH_SUPERVISOR"

Hear = Callable[[dict[str, Any]], None]
Lost = Callable[[], None]


class Link(asyncio.Protocol):
    """A running supervisor: what it says goes to `hear`; `lost` is called once, when it is no more."""

    def __init__(self, process: Process, hear: Hear, lost: Lost) -> None:
        self._process, self._hear, self._lost = process, hear, lost
        self._inbox = b""
        self.mark = {_NAME: uuid4().hex}
        """The variable by which whatever runs below this supervisor is known, unlike anything else on the machine."""
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, hear: Hear, lost: Lost) -> "Link":
        """Start a supervisor. Raises OSError if the machine can't."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await _start(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)  # noqa: FBT003 - the socket's own signature
        link = cls(process, hear, lost)
        await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
        return link

    @property
    def alive(self) -> bool:
        """Whether the supervisor is there, as far as we know."""
        return not self._closed.is_set()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def send(self, **message: object) -> None:
        """Say something to the supervisor; nothing happens if it is gone."""
        if self._transport and self.alive:
            self._transport.write(json.dumps(message).encode() + b"\n")

    async def close(self, within: float) -> None:
        """Let the supervisor stop all jobs and end; kill it, and so them, after `within` seconds."""
        try:
            if self._transport and self.alive:
                self._transport.write_eof()
            async with asyncio.timeout(within):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio."""
        _sweep(f"{_NAME}={self.mark[_NAME]}")
        self._closed.set()
        self._lost()


async def _start(descriptor: int) -> Process:
    # Without site-packages and in UTF-8 whatever the locale; in a session of its own, out of a terminal's reach.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _SUPERVISE, _PACKAGES, str(descriptor)),
        pass_fds=(descriptor,),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


def _sweep(mark: str) -> None:
    """Kill every process that carries a mark (Linux).

    Again until there is none, since a process may start another while we look. It reads /proc on the event loop,
    a millisecond for a hundred processes, once in a supervisor's life: nobody may believe the jobs gone before.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _processes() if carries(pid, mark)]
        for pid in found:
            send_signal(os.kill, pid, signal.SIGKILL)
        if not found:
            return


def _processes() -> list[int]:
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()] if proc.is_dir() else []

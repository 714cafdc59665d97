"""The services that `runmesh up` runs as child processes, started again when they die."""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, Self

from runmesh.cli import output
from runmesh.clock import longer
from runmesh.embedded import leashed

_FIRST_PAUSE: Final = 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Child:
    """One service. It gets signals from us only: Ctrl-C in the terminal must not reach it twice."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._environment = name, environment
        self._command = leashed(sys.executable, "-m", "runmesh", *arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Keep it running until it is stopped."""
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            began = monotonic()
            code = await self._once()
            if self._stopped.is_set():
                return
            pause = longer(pause, lived=monotonic() - began, first=_FIRST_PAUSE)
            output.say(f"the {self._name} ended with {code}; starting it again in {pause:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopped.wait()

    def stop(self) -> None:
        """Let it drain and end."""
        self._stopped.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._stopped.set()
        self._signal(signal.SIGKILL)

    async def _once(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=dict(self._environment), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        if self._stopped.is_set():  # while it was being started
            self._signal(signal.SIGTERM)
        try:
            return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class Stopping:
    """The end of it all: the first signal drains the children, the second one kills them."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._asked = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    def begin(self) -> None:
        """Let all children drain and end."""
        self._asked.set()
        for child in self._children:
            child.stop()

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()

    async def __aenter__(self) -> Self:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        return self

    async def __aexit__(self, *_: object) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self.begun:
            self.begin()
            return
        for child in self._children:
            child.kill()

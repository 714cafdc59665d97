"""An emulator in this process, for the length of a block; and how a module of one starts as a process of its own."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar


class Emulator(Protocol):
    """What answers as a platform does, and runs its jobs."""

    async def listen(self) -> None:
        """Begin to answer."""

    async def close(self) -> None:
        """End everything that runs."""


E = TypeVar("E", bound=Emulator)


@asynccontextmanager
async def hosted(emulator: Callable[[Path], E]) -> AsyncIterator[E]:
    """Have an emulator that is made in a directory of its own; none of its jobs outlives it."""
    with TemporaryDirectory(prefix="emulator-") as directory:
        found = emulator(Path(directory))
        await found.listen()
        try:
            yield found
        finally:
            await found.close()


def start(main: Callable[..., Coroutine[Any, Any, None]]) -> None:
    """Run a module's `main` as its command line says: ``SOCKET [--hollow]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--hollow", action="store_true")
    given = parser.parse_args()
    asyncio.run(main(given.socket, hollow=given.hollow))

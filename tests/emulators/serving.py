"""An emulator as a process of its own that outlives every worker: how it is found, asked, made to fail, and ended.

`running` (running.py) starts ``python -m tests.emulators.NAME SOCKET ...``. That module opens its platform in a block
of its own, on whatever its real client speaks (HTTP, gRPC), and hands over to `serve` for as long as it is wanted:

    async def _asked(found: Cloud, request: Request) -> Answer:
        match request["do"]:
            case "history":
                return {"history": found.history}
            case "jobs":
                return {"jobs": [[job.key, job.name] for job in found.jobs]}
            case "misbehave":
                found.faults = Faults(**request["faults"])
                return {}
        raise ValueError(f"unknown: {request}")

    async def main(socket: Path) -> None:
        async with cloud(inherited()) as found:
            await serve(socket, partial(_asked, found), found.environment)

`_asked` answers, on SOCKET, what no client of the platform may ask: one JSON object a connection and line each way,
sent by `call`. Two questions are the crash matrix's (tests/chaos): ``history``, everything that was ever submitted as
``{"name", "run", "block", "key", "attempt", "resubmission"}``, and ``jobs``, ``[name, handle]`` of what is still there.
`serve` returns when the process is told to end (TERM, INT): the block around it then ends what it runs.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

INHERITED: Final = "EMULATOR_INHERITED"
"""The variable that holds, as JSON, what every job finds in its environment beside its own."""
_LONGEST: Final = 2**26
"""Bytes of an answer: a history is long."""

Request = Mapping[str, Any]
Answer = Mapping[str, Any]


def inherited() -> dict[str, str]:
    """Return what every job finds in its environment, as who started this process said."""
    found: dict[str, str] = json.loads(os.environ.get(INHERITED, "{}"))
    return found


def environment_file(socket: Path) -> Path:
    """Return the file that says, as JSON, what workers must find in their environment. It is there before `socket`."""
    return socket.with_name(f"{socket.name}.environment")


async def serve(
    socket: Path, answer: Callable[[Request], Awaitable[Answer | None]], environment: Mapping[str, str]
) -> None:
    """Answer what comes on `socket` until told to end; workers find `environment` in theirs."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    environment_file(socket).write_text(json.dumps(dict(environment)))
    async with answering(socket, answer):
        await ended.wait()


@asynccontextmanager
async def answering(socket: Path, answer: Callable[[Request], Awaitable[Answer | None]]) -> AsyncIterator[None]:
    """Answer what comes on `socket` for the length of the block; None, or an error, is no answer."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, json.JSONDecodeError):
                said = await answer(json.loads(await reader.readline()))
                if said is not None:
                    writer.write(json.dumps(said).encode() + b"\n")
                    await writer.drain()
        finally:
            writer.close()

    # Nobody may find the socket before somebody listens on it.
    async with await asyncio.start_unix_server(connected, f"{socket}.new", backlog=1000):
        os.replace(f"{socket}.new", socket)  # noqa: PTH105 - as good, and no blocking call by ruff's lights
        yield


async def call(socket: Path | str, **request: Any) -> dict[str, Any]:
    """Ask an emulator. Raises ConnectionError if there is no answer."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LONGEST)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("the emulator gave no answer")
    answer: dict[str, Any] = json.loads(line)
    return answer

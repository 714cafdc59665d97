"""A nats-server of one's own: for `runmesh up` on one machine, and for tests.

The server is a child process that listens on loopback only, behind a random token, and keeps its streams in a
directory that a lock reserves for one process. It never outlives us, however we end: a shell beside it looks every
second whether we are still there.
"""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from runmesh.errors import Invalid, Problem, RunmeshError

_READY_WITHIN: Final = 15.0
_STOPPED_WITHIN: Final = 10.0
_NO_PROGRAM: Final = "no nats-server found: pip install 'runmesh[embedded]', or name the program in NATS_SERVER_BIN"
# The shell becomes the server, so `$$` is the server's pid, in the watcher too.
_LEASH: Final = """
parent=$1; shift
(while kill -0 $$; do kill -0 $parent || kill -9 $$; sleep 1; done) >/dev/null 2>&1 </dev/null &
exec "$@"
"""


class Server:
    """One nats-server process, which keeps port, token and store over `kill`, `stop` and `restart`."""

    def __init__(self, store: Path, port: int | None = None) -> None:
        self.store = store
        self.token = secrets.token_urlsafe(24)
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where to connect, without the token."""
        return f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start, and return when the server answers. Raises `RunmeshError` with the server's own last words."""
        if (program := find_program()) is None:
            raise RunmeshError(_NO_PROGRAM)
        config = self.store / "nats-server.conf"
        _write_private(config, self._config())
        with (self.store / "nats-server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(program, "--config", str(config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle: we stop the server last
            )
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await self._ready(self._process)
        except TimeoutError:
            await self.kill()
            raise RunmeshError(f"nats-server did not answer in {_READY_WITHIN:.0f} s: {self._last_words()}") from None

    async def stop(self) -> None:
        """Stop cleanly; kill what has not ended after ten seconds."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOPPED_WITHIN):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        for written in self._ports_files(self._process.pid):
            written.unlink()
        self._process = None

    async def ended(self) -> int:
        """Wait until it ends by itself, and return its exit code; `start` then starts it again."""
        if self._process is None:
            raise RunmeshError("nats-server does not run")
        code = await self._process.wait()
        await self.kill()
        return code

    async def restart(self) -> None:
        """Stop and start again: same port, token and store."""
        await self.stop()
        await self.start()

    def _config(self) -> str:
        return f"""
            host: 127.0.0.1
            port: {self._port or -1}
            ports_file_dir: {json.dumps(str(self.store))}
            authorization {{ token: "{self.token}" }}
            jetstream {{ store_dir: {json.dumps(str(self.store))}, sync_interval: 100ms }}
        """

    def _ports_files(self, pid: int) -> list[Path]:
        return list(self.store.glob(f"*_{pid}.ports"))  # it begins with the program's name, whatever that is

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        while not await self._answers(process.pid):
            if process.returncode is not None:
                raise RunmeshError(f"nats-server ended at once: {self._last_words()}")
            await asyncio.sleep(0.005)

    async def _answers(self, pid: int) -> bool:
        with suppress(OSError, ValueError, LookupError):  # not yet written, or not yet listening
            url = json.loads(self._ports_files(pid)[0].read_text())["nats"][0]
            self._port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            greeting = await reader.readline()
            writer.close()
            return greeting.startswith(b"INFO ")
        return False

    def _last_words(self) -> str:
        return (self.store / "nats-server.log").read_text(errors="replace")[-1000:].strip() or "it said nothing"


@asynccontextmanager
async def embedded(store: Path | None = None, port: int | None = None) -> AsyncIterator[Server]:
    """Run a nats-server for the length of the block, its streams in `store` (a temporary directory unless given).

    `port` is a free one unless given. Raises `RunmeshError` if there is no nats-server program, if another process
    holds the store, or if the server does not start.
    """
    with _directory(store) as directory, _locked(directory):
        server = Server(directory, port)
        try:
            await server.start()
            yield server
        finally:
            await server.stop()


def leashed(*command: str) -> tuple[str, ...]:
    """Return the argv that runs a command which never outlives this process, however this one ends."""
    return "/bin/sh", "-c", _LEASH, "leash", str(os.getpid()), *command


def find_program() -> str | None:
    """Return where a nats-server is: beside us, in PATH, or what NATS_SERVER_BIN names."""
    beside_us = Path(sysconfig.get_path("scripts")) / "nats-server"
    candidates = (str(beside_us), shutil.which("nats-server"), os.environ.get("NATS_SERVER_BIN"))
    return next((program for program in candidates if program and os.access(program, os.X_OK)), None)


@contextmanager
def _directory(store: Path | None) -> Iterator[Path]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="runmesh-nats-") as temporary:
            yield Path(temporary)
    else:
        try:
            store.mkdir(mode=0o700, parents=True, exist_ok=True)
            store.chmod(0o700)
        except OSError as error:
            where = f"should be a folder to write to, not {str(store.parent)!r}: {error.strerror}"
            raise Invalid(Problem("RUNMESH_STATE_DIR", where)) from error
        yield store.resolve()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{directory} is in use by another process: stop that, or choose another RUNMESH_STATE_DIR"
            raise RunmeshError(message) from None
        yield


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)

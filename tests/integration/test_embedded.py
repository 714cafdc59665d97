"""The embedded nats-server: private, locked, gone when we are gone."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from runmesh.bus import connect, provision
from runmesh.embedded import Server, embedded
from runmesh.errors import Invalid, NotPermitted, RunmeshError
from tests.eventually import eventually

CHILD = """
import asyncio, sys
from pathlib import Path
from runmesh.embedded import embedded

async def main():
    async with embedded(Path(sys.argv[1])) as server:
        print(server._process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""

WITHOUT_PROGRAM = """
import asyncio, sysconfig
from runmesh.embedded import embedded

sysconfig.get_path = lambda name: "/nowhere"
asyncio.run(embedded().__aenter__())
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_was_stored_is_there_after_a_crash_on_the_same_address(nats_server: Server) -> None:
    url, token = nats_server.url, nats_server.token
    async with connect(url, name="before", token=token) as bus:
        await provision(bus)
        await bus.publish("mesh.request.run.shop", b"kept")
    await nats_server.kill()
    await nats_server.start()
    assert nats_server.url == url
    async with connect(url, name="after", token=token) as bus:
        message = await bus.last("REQUESTS", "mesh.request.run.shop")
    assert message is not None
    assert message.data == b"kept"


async def test_two_processes_never_share_a_store(tmp_path: Path) -> None:
    async with embedded(tmp_path / "store"):
        with pytest.raises(RunmeshError, match="in use by another process"):
            async with embedded(tmp_path / "store"):
                pass


async def test_a_store_where_none_can_be_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="RUNMESH_STATE_DIR: should be a folder to write to"):
        async with embedded(tmp_path / "file" / "store"):
            pass


async def test_the_store_and_its_configuration_are_for_us_alone(tmp_path: Path) -> None:
    async with embedded(tmp_path / "store") as server:
        assert stat.S_IMODE(server.store.stat().st_mode) == 0o700
        assert stat.S_IMODE((server.store / "nats-server.conf").stat().st_mode) == 0o600


async def test_nobody_connects_without_the_token(nats_server: Server) -> None:
    with pytest.raises(NotPermitted, match="credentials"):
        async with connect(nats_server.url, name="stranger", token="guess"):  # noqa: S106 - a wrong one
            pass


async def test_the_server_dies_with_a_process_that_was_killed(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path / "store"), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    pid = int(await child.stdout.readline())
    assert alive(pid)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await eventually(lambda: not alive(pid))


async def test_a_server_that_cannot_start_says_why(nats_server: Server) -> None:
    port = int(nats_server.url.rpartition(":")[2])
    with pytest.raises(RunmeshError, match="address already in use"):
        async with embedded(port=port):
            pass


async def test_without_the_program_the_error_says_what_to_install() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT_PROGRAM), env={"PATH": ""}, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await child.communicate()
    assert "pip install 'runmesh[embedded]'" in complaint.decode()

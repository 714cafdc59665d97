"""Starting the platform as a process that never outlives the test."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runmesh.embedded import leashed
from tests.emulators.platform import ENVIRONMENT
from tests.eventually import eventually


@asynccontextmanager
async def running_platform(socket: Path, **environment: str) -> AsyncIterator[None]:
    """Run a platform that listens on `socket`, for the length of the block; its jobs find `environment` in theirs."""
    command = leashed(sys.executable, "-m", "tests.emulators.platform", str(socket))
    told = {**os.environ, ENVIRONMENT: json.dumps(environment)}
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2], env=told)
    try:
        await eventually(socket.exists)
        yield
    finally:
        process.terminate()
        await process.wait()

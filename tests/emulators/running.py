"""Starting an emulator as a process that never outlives the test."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from runmesh.embedded import leashed
from tests.emulators.serving import INHERITED, environment_file
from tests.eventually import eventually


@asynccontextmanager
async def running(name: str, socket: Path, *options: str, **environment: str) -> AsyncIterator[dict[str, str]]:
    """Run the emulator of this module's name for the length of the block; its jobs find `environment` in theirs.

    Yields what its workers must find in their own environment. `call(socket, ...)` asks it (serving.py).
    """
    command = leashed(sys.executable, "-m", f"tests.emulators.{name}", str(socket), *options)
    told = {**os.environ, INHERITED: json.dumps(environment)}
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2], env=told)
    try:
        await eventually(socket.exists)
        yield json.loads(environment_file(socket).read_text())
    finally:
        process.terminate()
        await process.wait()


running_platform = partial(running, "platform")
"""The stand-in."""
running_cluster = partial(running, "k8s")
"""A Kubernetes cluster of one node."""
running_ecs = partial(running, "ecs")
"""ECS; its workers find themselves in a task, which others inherit from."""
running_emr = partial(running, "emr")
"""EMR and S3."""
running_cloud_run = partial(running, "cloud_run")
"""GCP Cloud Run, with a service that jobs take after."""
running_azure = partial(running, "azure")
"""Azure; its workers are told of a group that others take after."""

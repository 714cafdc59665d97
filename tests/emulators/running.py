"""Starting a platform as a process that never outlives the test."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from runmesh.embedded import leashed
from tests.emulators.platform import ENVIRONMENT
from tests.emulators.remote import SOCKET
from tests.eventually import eventually


@asynccontextmanager
async def running_platform(socket: Path, **environment: str) -> AsyncIterator[dict[str, str]]:
    """Run a platform that listens on `socket`, for the length of the block; its jobs find `environment` in theirs.

    Yields what its workers must find in their own environment.
    """
    async with _running("platform", [str(socket)], socket, environment):
        yield {SOCKET: str(socket)}


@asynccontextmanager
async def running_cluster(socket: Path, *options: str, **environment: str) -> AsyncIterator[dict[str, str]]:
    """Run a Kubernetes cluster of one node likewise; `socket` answers what only the omniscient may ask."""
    kubeconfig = f"{socket}.kubeconfig"
    async with _running("k8s", [str(socket), kubeconfig, *options], socket, environment):
        yield {"KUBECONFIG": kubeconfig, "RUNMESH_K8S_QPS": "1000"}


@asynccontextmanager
async def running_emr(socket: Path, **environment: str) -> AsyncIterator[dict[str, str]]:
    """Run EMR and S3 likewise."""
    async with _running("emr", [str(socket)], socket, environment):
        yield json.loads(Path(f"{socket}.environment").read_text())  # noqa: ASYNC240 - small


@asynccontextmanager
async def running_ecs(socket: Path, *options: str, **environment: str) -> AsyncIterator[dict[str, str]]:
    """Run ECS likewise; its workers find themselves in a task, which others inherit from."""
    there = Path(f"{socket}.environment")
    async with _running("ecs", [str(socket), str(there), *options], socket, environment):
        yield json.loads(there.read_text())  # noqa: ASYNC240 - small


@asynccontextmanager
async def _running(
    module: str, arguments: Sequence[str], socket: Path, environment: Mapping[str, str]
) -> AsyncIterator[None]:
    command = leashed(sys.executable, "-m", f"tests.emulators.{module}", *arguments)
    told = {**os.environ, ENVIRONMENT: json.dumps(dict(environment))}
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2], env=told)
    try:
        await eventually(socket.exists)
        yield
    finally:
        process.terminate()
        await process.wait()

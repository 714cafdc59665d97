"""A whole mesh for one test: a server, a resolver and a local executor, as `runmesh up` runs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runmesh.cli.up import services, settings_for
from runmesh.client import Mesh
from runmesh.embedded import embedded


@asynccontextmanager
async def local_mesh(projects: Path, state: Path, slots: int = 2) -> AsyncIterator[Mesh]:
    """Run it for the length of the block; jobs get what the executor passes on of the test's own environment."""
    here = settings_for(projects).model_copy(update={"state_dir": state})
    async with embedded(state / "nats") as server, services(here, server, slots) as (mesh, _):
        yield mesh

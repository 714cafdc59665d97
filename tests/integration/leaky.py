"""An ECS that quotes secrets in whatever it says, as a service of its own: for the test of logs.

python -m tests.integration.leaky
"""

import logging
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, ClassVar, Self

import structlog
import typer

from runmesh import settings, subjects
from runmesh.cli.exits import exit_code, run_service
from runmesh.cli.working import Working
from runmesh.errors import Rejected, RunmeshError, Unavailable
from runmesh.executor import UNKNOWN, Backend, Handle, Observation, Site, Task
from runmesh.executors import ecs
from runmesh.service import serve


class Executor:
    """Refuses, breaks and fails, and quotes all that it was given each time."""

    poll_interval: ClassVar[float] = 0.1
    batch: ClassVar[int] = 10
    gone_window: ClassVar[float] = 0.1
    find_window: ClassVar[float] = 0.2
    adoptable: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self._said = os.environ["LEAKY_SAYS"] + site.environment["LEAKY_PASSWORD"]
        self._tries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def submit(self, task: Task[Any]) -> Handle:
        """Refuse once, break once; then say never."""
        said = f"{self._said} {task.environment} {task.config} {task.command}"
        logging.getLogger("leaky.sdk").debug("a third party tells all: %s", "unlooked-like")
        logging.getLogger("leaky.sdk").warning("a third party warns: %s", said)
        structlog.get_logger("runmesh.leaky").info(
            "tried", action="submit", error=ValueError(said), given={"api_token": "x", "all": [said]}
        )
        self._tries += 1
        if self._tries == 1:
            raise Unavailable(said, 0.05)
        if self._tries == 2:
            raise ConnectionError(said)
        raise Rejected(said)

    async def find(self, task: Task[Any]) -> Handle | None:
        """Break, then know of nothing."""
        if self._tries == 2:
            self._tries += 1
            raise OSError(f"{self._said} {task.environment}")
        return None

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Know nothing."""
        return dict.fromkeys(handles, UNKNOWN)

    async def cancel(self, handle: Handle) -> None:
        """Do nothing."""

    async def remove(self, handle: Handle) -> None:
        """Do nothing."""

    async def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Break."""
        if self._tries >= 0:
            raise OSError(self._said)
        yield "", Handle("")


def main() -> None:
    """Serve, as `runmesh executor` does."""
    here, backend = settings.load(), Backend(Executor, ecs.Config)
    needs = [(subjects.execute_stream("ecs"), subjects.execute_consumer("default"))]
    try:
        run_service(serve("executor ecs", here, needs, lambda bus: Working(bus, here, "ecs", backend)))
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except RunmeshError as error:
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()

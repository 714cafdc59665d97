"""A platform under test that is an emulator: how its executor and its tasks are made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from runmesh.executor import Site, Task, load
from tests.executors.conformance import Platform
from tests.executors.tasks import task_of


class Emulator(Protocol):
    """What stands for the platform."""

    @property
    def environment(self) -> dict[str, str]:
        """What a worker must find in its own."""


class Emulated(Platform):
    """How the tests of one executor type reach its emulator."""

    type: ClassVar[str]
    usual: ClassVar[Mapping[str, Any]]
    """What every task says."""

    directory: Path

    @property
    def emulator(self) -> Emulator:
        """The platform of this test."""
        raise NotImplementedError

    def connect(self, worker: str = "worker-1", **environment: str) -> Any:
        there = {**self.emulator.environment, **environment}
        return self._parts()[0](Site("mesh", "default", worker, there, self.directory))

    def task(self, key: str, *command: str, **environment: str) -> Task[Any]:
        return task_of(self.config(), *command, key=key, environment=environment)

    def config(self, **more: Any) -> Any:
        return self._parts()[1](**{**self.usual, **more})

    def _parts(self) -> tuple[Any, Any]:
        parts = load(self.type)
        assert parts is not None
        return parts

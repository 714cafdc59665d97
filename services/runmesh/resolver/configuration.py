"""A task's configuration as the levels have settled it: every value's level, what was left aside, and what is wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runmesh.errors import Problem
from runmesh.executor import ExecutorConfig
from runmesh.resolver import mage
from runmesh.resolver.choice import Skipped
from runmesh.resolver.merging import Origin
from runmesh.resolver.validation import Fault


@dataclass(frozen=True, slots=True)
class Configuration:
    """The merged configuration of the tasks that share it."""

    executor_type: str
    values: Mapping[str, Any]
    provenance: Mapping[str, Origin]
    """The level of every value, by dotted path."""
    common: ExecutorConfig
    """The part that the mesh itself acts upon."""
    time_limit: float | None
    """Seconds that a task may run."""
    skipped: tuple[Skipped, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Problem, ...]
    errors: tuple[Problem, ...]
    """What could not even be merged."""
    differs: Mapping[str, Any]
    """What Mage OSS would use instead, by dotted path; None where it has no value."""

    def problems(self, block: str | None, file: str) -> Iterator[Problem]:
        """Yield all that is wrong, as the problems of one block (None: of the whole pipeline)."""
        yield from self.errors
        for fault in self.faults:
            origin = fault.origin or self._origin(fault.path)
            where = self._place(fault.path, origin, block, file)
            level = f" ({origin} level{f', {file}' if origin == 'block' else ''})" if origin else ""
            yield Problem(where, f"{fault.message}{level}", fault.hint)

    def _origin(self, path: str) -> Origin | None:
        """Return the level of a value, of something inside it, or of what it is inside of."""
        if path in self.provenance:
            return self.provenance[path]
        inside = (origin for inner, origin in self.provenance.items() if inner.startswith(f"{path}."))
        around = (origin for outer, origin in self.provenance.items() if path.startswith(f"{outer}."))
        return next(inside, None) or next(around, None)

    def _place(self, path: str, origin: Origin | None, block: str | None, file: str) -> str:
        if origin and origin.place:
            return origin.place
        places = {
            "project": f"metadata.yaml: {project_key(self.executor_type)}.{path}",
            "pipeline": f"{file}: executor_config.{path}",
            "request": f"request: executor_config.{self.executor_type}.{path}",
            "request.block_config": f"request: block_config.{block}.{path}",
            "policy": f"policy: {self.executor_type}.{path}",
        }
        here = file if block is None else f"block {block}"
        return places.get(origin or "") or f"{here}: executor_config.{path}"


def project_key(executor_type: str) -> str:
    """Name the key of a project's metadata.yaml that holds this type's configuration."""
    return mage.PROJECT_KEYS.get(executor_type, f"{executor_type}_config")

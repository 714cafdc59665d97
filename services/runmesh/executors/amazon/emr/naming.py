"""What a step is called: Mage's name for it, and behind that whose it is, so that it is found again by its key."""

import re
from typing import Any, Final, NamedTuple, Self

from runmesh.executor import Task
from runmesh.subjects import WHOLE_PIPELINE

_LONGEST: Final = 256
_STOPS: Final = "runmesh-stop"
_MARK: Final = re.compile(r"(?:^|.* )runmesh:(?P<mesh>[^ :]*):(?P<pool>[^ :]*):(?P<key>[^ :]+)", re.DOTALL)


class Mark(NamedTuple):
    """Whose a step is."""

    mesh: str
    pool: str
    key: str

    @classmethod
    def of(cls, mesh: str, pool: str, key: str) -> Self:
        """Make one of what may hold anything."""
        return cls(*(re.sub(r"[ :]", "-", part) for part in (mesh, pool, key)))

    def __str__(self) -> str:
        return f"runmesh:{self.mesh}:{self.pool}:{self.key}"


def step_name(task: Task[Any], mark: Mark) -> str:
    """Return Mage's name with the mark behind it; the readable part is cut where both are too long."""
    whole = task.block == WHOLE_PIPELINE
    readable = f"run_mage_pipeline_{task.pipeline}" if whole else f"run_mage_block_{task.pipeline}_{task.block}"
    printable = re.sub(r"[^\x20-\x7e]", "_", readable)
    return f"{printable[: _LONGEST - len(str(mark)) - 1]} {mark}"


def mark_of(name: str) -> Mark | None:
    """Return whose a step is; None if it is not ours, or stops one of ours."""
    found = _MARK.fullmatch(name)
    return Mark(**found.groupdict()) if found and not is_stop(name) else None


def is_stop(name: str) -> bool:
    """Whether a step is one that ends what another one has left."""
    return name.startswith(_STOPS)


def stop_name(step: str) -> str:
    """Return the name of the step that ends what a step has left on the cluster."""
    return f"{_STOPS} {step}"

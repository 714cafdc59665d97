"""The `failures` of a RunTask that succeeded all the same: AWS answers 200, and started nothing (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runmesh.errors import Rejected, Unavailable

_FOR_GOOD: Final = ("ATTRIBUTE", "LOCATION", "INACTIVE", "InvalidParameter", "TaskDefinitionFamily")
"""How the reasons begin that no time cures. All others are a lack of room, or of an agent that answers."""


def of_failures(failures: Sequence[Mapping[str, Any]]) -> Exception:
    """Return what they mean for a task that was to be started."""
    told = "; ".join(dict.fromkeys(map(_told, failures))) or "no task, and no reason either"
    if any(str(each.get("reason", "")).startswith(_FOR_GOOD) for each in failures):
        return Rejected(f"ECS starts no such task: {told}")
    return Unavailable(f"ECS starts no task for now: {told}")


def _told(failure: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (failure.get("reason"), failure.get("detail"))))

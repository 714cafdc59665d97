"""The environment of a job's container, and text that Kubernetes must not expand."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runmesh.executor import Task
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base
from runmesh.platforms.identity import told

MESSAGE_PATH: Final = "/dev/termination-log"
"""Where Kubernetes reads a container's last words, unless its configuration says otherwise."""
_MESSAGE: Final = "RUNMESH_TERMINATION_LOG"


def variables(task: Task[Config], base: Base) -> list[Mapping[str, Any]]:
    """Return the variables, each once; the later wins: inherited, the container's, `environment`, the task's, ours."""
    found: dict[str, Mapping[str, Any]] = {}
    for each in (*base.env, *task.config.container.get("env", ()), *_named(task)):
        found.pop(each["name"], None)  # so that it stands behind what its value may refer to
        found[each["name"]] = each
    return list(found.values())


def _named(task: Task[Config]) -> Iterator[Mapping[str, Any]]:
    for name, value in task.config.environment.items():
        yield {"name": name, "value": value}
    ours = {
        **told(task),
        _MESSAGE: task.config.container.get("terminationMessagePath", MESSAGE_PATH),
    }
    for name, value in {**task.environment, **ours}.items():
        yield {"name": name, "value": literal(value)}


def literal(text: str) -> str:
    """Keep Kubernetes from expanding ``$(NAME)`` in an argument or a value: ``$$`` is a dollar sign."""
    return re.sub(r"\$(?=[$(])", "$$", text)

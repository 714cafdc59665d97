"""What a job is started with: command, directory and environment (pure, but for a look for the `.venv`)."""

import os
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import Field

from runmesh.executor import ExecutorConfig, Task
from runmesh.platforms.exits import OWN_VARIABLES, RUNTIME
from runmesh.platforms.identity import told

MAGE: Final = ("mage", "run")
"""How the command of `runtime: mage` begins."""
_RUNTIME_SCRIPT: Final = Path(__file__).parents[2] / "runtime" / "__main__.py"

INHERITED: Final = (
    *("PATH", "HOME", "SHELL", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP"),
    *("LANG", "LANGUAGE", "LC_*", "TZ"),
    *("LD_LIBRARY_PATH", "DYLD_*", "JAVA_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    "MAGE_*",
)
"""What of the worker's environment a job is given: what says how this machine is used, and Mage's own settings.
Credentials (AWS_*, …) are not among it: name them in `inherit_environment`."""
PROJECT_PATH: Final = "RUNMESH_PROJECT_PATH"
"""The variable that tells a command block where its project is."""
PRIVATE: Final = "RUNMESH_"
"""The mesh's own settings, NATS credentials among them: never inherited, whatever is asked for."""


class Config(ExecutorConfig):
    """A local process, started by the worker itself."""

    python: str | None = Field(
        None,
        description="Interpreter that runs the blocks; the project's .venv if absent, else the worker's own. "
        "With `runtime: mage`, the `mage` beside it is run, else the one on the PATH.",
    )
    environment: dict[str, str] = Field(default_factory=dict, description="More variables for the process.")
    inherit_environment: tuple[str, ...] = Field(
        (), description="More variables to pass through from the worker; NAME, or PREFIX_*."
    )
    kill_grace: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="Seconds between TERM and KILL when the process is stopped."
    )


def runs_runtime(task: Task[Config]) -> bool:
    """Tell whether the command is our runtime, whose exit code 2 has a meaning."""
    return task.command[:1] == (RUNTIME,) and _project(task) is not None


def command(task: Task[Config]) -> list[str]:
    """Return argv: `runmesh-run` becomes an interpreter with the runtime's script, `mage` the one of that interpreter.

    Anything else is run as it is.
    """
    project = _project(task)
    if project is None:
        return list(task.command)
    python = task.config.python or _interpreter(project)
    if runs_runtime(task):
        return [python, str(_RUNTIME_SCRIPT), str(project), *task.command[2:]]
    return [_beside(python, MAGE[0]), MAGE[1], str(project), *task.command[3:]]


def _project(task: Task[Config]) -> Path | None:
    """Return the project that either runtime is given, absolute; a user's own command is no runtime, whatever it is."""
    if OWN_VARIABLES in task.environment:
        return None
    match task.command:
        case (runtime, project, *_) if runtime == RUNTIME:
            return Path(project).absolute()
        case (mage, run, project, *_) if (mage, run) == MAGE:
            return Path(project).absolute()
    return None


def _interpreter(project: Path) -> str:
    own = str(project / ".venv" / "bin" / "python")
    return own if _exists(own) else sys.executable


def _beside(python: str, program: str) -> str:
    path = Path(python).with_name(program)
    return str(path) if path.is_absolute() and _exists(str(path)) else program


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises for what it may not look at


def directory(task: Task[Config]) -> Path | None:
    """Return the working directory, absolute: the project, if anything names it."""
    if found := _project(task):
        return found
    project = task.config.project_path or task.environment.get(PROJECT_PATH)
    return Path(project).absolute() if project else None


def environment(task: Task[Config], worker: Mapping[str, str]) -> dict[str, str]:
    """Return the job's environment: of what both name, the task's variable wins over the configuration's."""
    names = (*INHERITED, *task.config.inherit_environment)
    return {
        **{name: value for name, value in worker.items() if _passes(name, names)},
        **task.config.environment,
        **task.environment,
        **told(task),
    }


@lru_cache(maxsize=10_000)
def _passes(name: str, patterns: tuple[str, ...]) -> bool:
    return not name.startswith(PRIVATE) and any(fnmatchcase(name, pattern) for pattern in patterns)

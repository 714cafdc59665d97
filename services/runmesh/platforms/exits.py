"""What the exit code of a container says, whatever ran it."""

from collections.abc import Mapping
from signal import Signals
from typing import Any, Final

from runmesh.events import Cause

SIGNALLED: Final = 128
"""Containers that a signal ended exit with its number and this."""
PROJECT_WRONG: Final = 2
"""With this code our runtime says that the project, the arguments or an input is wrong."""
WRONG: Final = "the project, the arguments or an input is wrong"
RUNTIME: Final = "runmesh-run"
"""The first word of a command that is our runtime's."""
OWN_VARIABLES: Final = "RUNMESH_VARIABLES"
"""The variable that only a command block is given: its exit codes are its own."""


def refused(code: int | None, container: Mapping[str, Any], variables: str) -> tuple[Cause, str] | None:
    """Return what our runtime says with its code 2; None if it is another code, or the container ran something else.

    The container is as its API has it, with a list of `{name, ...}` in the field that `variables` names.
    """
    if code != PROJECT_WRONG or (container.get("command") or [""])[0] != RUNTIME:
        return None
    if any(each["name"] == OWN_VARIABLES for each in container.get(variables) or ()):
        return None
    return Cause.CONFIG, f"exit code {code}: {WRONG}"


def signal_name(number: int) -> str:
    """Return what a signal is called."""
    try:
        return Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def signal_of(code: int | None) -> str:
    """Return, in brackets, the signal that an exit code tells of; nothing if it tells of none."""
    try:
        return f" ({Signals((code or 0) - SIGNALLED).name})"
    except ValueError:
        return ""

"""What ends a job with exit code 1, and how any error is told: to people, and in the outcome."""

import sys
from typing import Final

from runmesh.errors import Invalid, RunmeshError

_LONGEST: Final = 500


class Failed(RunmeshError):
    """The job didn't do its work. Its cause, if it has one, is the user's exception, shown with its traceback."""


def tell(error: Failed | Invalid) -> None:
    """Say what went wrong on standard error: the user's traceback, if there is one, and a line for each problem."""
    if isinstance(error, Invalid):
        for problem in error.problems:
            say(str(problem))
        return
    cause = error.__cause__
    if cause is not None:
        from runmesh.runtime.tracebacks import show  # noqa: PLC0415 - only after a failure

        show(cause, sys.stderr)
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] == "mage_ai":
            say("this block needs Mage itself: set `runtime: mage`")
    say(str(error))


def say(text: str) -> None:
    """Write one line to standard error."""
    # One write: lines of blocks that run at the same time don't mix.
    sys.stderr.write(f"runmesh-run: {' '.join(text.splitlines())}\n")
    sys.stderr.flush()


def in_short(error: BaseException) -> str:
    """Return an error as one line, with the user's exception that caused it."""
    cause = error.__cause__
    if isinstance(error, RunmeshError):
        text = f"{error}: {in_short(cause)}" if cause is not None else str(error)
    else:
        said = _text(error)
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is a user's class
        return ""

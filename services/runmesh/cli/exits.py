"""How commands end: with a code that scripts may trust, and one clear line for each thing that is wrong."""

import asyncio
import gc
import os
import sys
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import closing
from enum import IntEnum
from typing import Any, Final, NoReturn

import typer

from runmesh import redaction
from runmesh.errors import Invalid, NotProvisioned, Problem, RunmeshError, StreamFull, Unreachable
from runmesh.interrupts import end_well


class Exit(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILED = 1
    MISUSE = 2
    REJECTED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


EXIT_CODES: Final = (
    "Exit codes: 0 done, or the run completed; 1 the run failed or was cancelled, or an operation failed; "
    "2 wrong usage or input; 3 the request was rejected; 4 NATS can't be reached; 130 interrupted."
)

_NEXT: Final = {
    NotProvisioned: "run `runmesh provision`",
    StreamFull: "the mesh takes no more for now: try again later, or see `runmesh doctor`",
    Unreachable: "is the server there? `runmesh up` runs one here; RUNMESH_NATS_URL names another",
}


def run(work: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a command's coroutine, and end with the code it returns."""
    with closing(work):  # an interrupt may come before it begins
        end_well()
        raise typer.Exit(asyncio.run(work) or 0)


def run_service(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a service's coroutine, on uvloop where that is installed."""
    # What is imported by now stays, and what a service holds is in use: the search for garbage took a tenth of its CPU.
    # What was in use then may be garbage later, so the older generations are searched as well, but seldom.
    gc.freeze()
    gc.set_threshold(50_000, 50, 5)
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - optional, and of no use to anything else here
    except ImportError:
        run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)
    raise typer.Exit(0)


def exit_code(error: BaseException) -> int:
    """Print what went wrong, and return the code that says so."""
    known = redaction.known_in(dict(os.environ))
    if os.environ.get("RUNMESH_LOG_LEVEL") == "debug":
        sys.stderr.write(redaction.hide("".join(traceback.format_exception(error)), known))
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    errors = list(_leaves(error))
    for each in errors:
        for line in _lines(each):
            sys.stderr.write(f"runmesh: {redaction.hide_known(line, known)}\n")
    return max(map(_code, errors), default=Exit.FAILED)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Take groups apart: what several tasks met is often the same thing."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    seen: set[str] = set()
    for each in error.exceptions:
        for leaf in _leaves(each):
            if str(leaf) not in seen:
                seen.add(str(leaf))
                yield leaf


def _lines(error: BaseException) -> Iterator[str]:
    match error:
        case Invalid():
            yield from map(_problem, error.problems)
        case RunmeshError():
            step = next((text for kind, text in _NEXT.items() if isinstance(error, kind)), None)
            text = " ".join(str(error).split())
            yield f"{text} ({step})" if step and "`runmesh" not in text else text
        case _:
            text = " ".join(str(error).split())[:500]
            yield f"{type(error).__name__}: {text} (RUNMESH_LOG_LEVEL=debug shows where)"


def _problem(problem: Problem) -> str:
    return " ".join(str(problem).split())


def _code(error: BaseException) -> Exit:
    match error:
        case Invalid():
            return Exit.MISUSE
        case Unreachable():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED

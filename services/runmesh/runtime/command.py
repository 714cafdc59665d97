"""One command, from its flags to its exit code; what is said on the way, and to whom."""

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper

from runmesh.errors import Invalid
from runmesh.projects import outcome_path
from runmesh.runtime import arguments
from runmesh.runtime.decorators import Decorated
from runmesh.runtime.failed import Failed
from runmesh.runtime.job import Job, prepare


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in this process, whose streams, directory and import path become the project's."""
    if list(argv[:1]) in (["-h"], ["--help"]):
        print(arguments.__doc__)  # noqa: T201
        return 0
    try:
        job = prepare(arguments.parse(argv), environment)
    except Invalid as error:
        return _wrong(error)
    except Failed as error:
        return _failed(error)
    for warning in job.outcome.warnings:
        _say(f"warning: {warning}")
    _enter(job)
    return _run(job)


def _run(job: Job) -> int:
    try:
        job.run()
        _leave_outcome(job, 0)
    except Invalid as error:
        return _wrong(error)
    except Failed as error:
        code = _failed(error)
        try:
            _leave_outcome(job, code)
        except Failed as lost:
            _failed(lost)
        return code
    return 0


def _enter(job: Job) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    home = str(job.project.path)
    # At the end, as Mage: a project's folder `transformers` must not hide an installed package of that name.
    sys.path += [path for path in (home, os.path.dirname(home)) if path not in sys.path]  # noqa: PTH120
    os.chdir(home)
    Decorated({}).make_importable()  # for inputs: objects of a class that another block's file defines


def _leave_outcome(job: Job, exit_code: int) -> None:
    run_id, key = job.arguments.run, job.arguments.key
    if not (run_id and key):
        return
    sys.stdout.flush()
    path = outcome_path(job.variables, run_id, key)
    try:
        job.outcome.write(path, exit_code)
    except OSError as error:
        raise Failed(f"the outcome can't be written to {path}: {error}") from None


def _wrong(error: Invalid) -> int:
    for problem in error.problems:
        _say(str(problem))
    return 2


def _failed(error: Failed) -> int:
    if error.__cause__ is not None:
        from runmesh.runtime.tracebacks import show  # noqa: PLC0415 - only after a failure

        show(error.__cause__, sys.stderr)
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and (missing.name or "").split(".")[0] == "mage_ai":
            _say("this block needs Mage itself: set `runtime: mage`")
    _say(str(error))
    return 1


def _say(text: str) -> None:
    line = " ".join(text.splitlines())
    print(f"runmesh-run: {line}", file=sys.stderr, flush=True)  # noqa: T201

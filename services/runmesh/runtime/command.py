"""One command, from its flags to its exit code."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

from runmesh.errors import Invalid
from runmesh.projects import outcome_path
from runmesh.runtime import arguments
from runmesh.runtime.block import run_block
from runmesh.runtime.decorators import make_importable
from runmesh.runtime.failed import Failed, in_short, say, tell
from runmesh.runtime.job import Job, prepare

LAST_WORDS: Final = "RUNMESH_TERMINATION_LOG"
"""The variable naming the file in which the platform looks for why a job failed: Kubernetes' termination message."""


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in this process, whose streams, directory and import path become the project's."""
    if list(argv[:1]) in (["-h"], ["--help"]):
        print(arguments.__doc__)  # noqa: T201
        return 0
    error = _run(argv, environment)
    if error and LAST_WORDS in environment:
        _leave_last_words(environment[LAST_WORDS], error)
    return _exit_code(error)


def _run(argv: Sequence[str], environment: Mapping[str, str]) -> Failed | Invalid | None:
    """Run a command and return what went wrong, already told."""
    try:
        job = prepare(arguments.parse(argv), environment)
    except (Invalid, Failed) as error:
        tell(error)
        return error
    for warning in job.outcome.warnings:
        say(f"warning: {warning}")
    _enter(job)
    wrong = _work_with_spark(job) if job.arguments.spark else _work(job)
    try:
        _leave_outcome(job, _exit_code(wrong))
    except Failed as error:
        tell(error)
        return wrong or error
    return wrong


def _work_with_spark(job: Job) -> Failed | Invalid | None:
    from runmesh.runtime.spark import spark_session  # noqa: PLC0415 - few processes need it

    config = job.pipeline.spark_config or job.project.spark_config  # the pipeline's replaces the project's, as in Mage
    try:
        with spark_session(config, f"{job.project.name}: {job.pipeline.uuid}"):
            return _work(job)
    except Invalid as error:
        tell(error)
        job.outcome.error = in_short(error)
        return error


def _work(job: Job) -> Failed | Invalid | None:
    """Do what the flags ask for and return what went wrong, already told."""
    step, flags = job.step, job.arguments
    if flags.callbacks:
        return _told(job, _call_back)
    if step is None:
        from runmesh.runtime.whole import run_pipeline  # noqa: PLC0415 - as all below: a block alone needs none of it

        return run_pipeline(job)
    if not flags.conditions_only:
        return run_block(job, step, job.outcome)
    from runmesh.runtime.conditions import check_conditions  # noqa: PLC0415

    return _told(job, lambda job: check_conditions(job, step, job.outcome))


def _call_back(job: Job) -> None:
    """Run callbacks that the job of a block, or of a whole pipeline, could not run itself."""
    from runmesh.runtime.callbacks import call_back, call_back_for_all  # noqa: PLC0415

    status, told = job.arguments.callbacks or "", job.arguments.error
    error = Failed(told or "the block's job could not run") if told or status == "failure" else None
    if job.step is None:
        call_back_for_all(job, status, error)
    else:
        call_back(job, job.step, status, job.outcome, error)


def _told(job: Job, do: Callable[[Job], object]) -> Failed | Invalid | None:
    """Do it, and tell and return what went wrong."""
    try:
        do(job)
    except (Invalid, Failed) as error:
        tell(error)
        job.outcome.error = in_short(error)
        return error
    return None


def _enter(job: Job) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    home = str(job.project.path)
    # At the end, as Mage: a project's folder `transformers` must not hide an installed package of that name.
    sys.path += [path for path in (home, os.path.dirname(home)) if path not in sys.path]  # noqa: PTH120
    os.chdir(home)
    make_importable()  # for inputs: objects of a class that another block's file defines


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


def _leave_last_words(path: str, error: Failed | Invalid) -> None:
    """Write the error, told already, in one line to where the platform looks for it, if that can be written."""
    with suppress(OSError), open(path, "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as fast
        file.write(in_short(error))


def _exit_code(error: Failed | Invalid | None) -> int:
    if error is None:
        return 0
    return 2 if isinstance(error, Invalid) else 1

"""Callback blocks: what runs after a block has completed, failed for good, or was cancelled.

As Mage: `@callback(status)` functions get the block's outputs by position, or as the keyword `__input` if they take
keywords only; a bare `@callback` counts for success and gets no arguments; `@on_success` and `@on_failure` get keywords
only. An exception is told and changes nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from runmesh.errors import Invalid
from runmesh.projects import Block
from runmesh.projects.addons import callbacks_of
from runmesh.runtime.addons import addon_keywords
from runmesh.runtime.code import call, takes_positionals
from runmesh.runtime.decorators import BARE, Function, with_status
from runmesh.runtime.failed import Failed, say, tell
from runmesh.runtime.job import Job
from runmesh.runtime.notes import notes_of
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.outputs import single
from runmesh.runtime.steps import Step

_LEGACY: Final = {"success": "on_success", "failure": "on_failure"}


def call_back(job: Job, step: Step, status: str, outcome: Outcome, error: BaseException | None = None) -> None:
    """Run a block's callbacks for one status; raises nothing."""
    if job.notes:
        job.notes.end(step)
    outcome.callbacks.append(status)
    for callback in callbacks_of(job.pipeline, step.block):
        try:
            if job.sources.is_missing(callback):
                _warn(outcome, f"callback {callback.uuid!r} of block {step.name!r} has no file: it doesn't run")
            else:
                _run(job, step, callback, status, error)
        except (Failed, Invalid) as problem:
            tell(problem)
            _warn(outcome, f"the {status} callback {callback.uuid!r} of block {step.name!r} failed")


def call_back_for_all(job: Job, status: str, error: BaseException | None) -> None:
    """Call back for each block that a whole pipeline's process had begun; raises `Failed` if nobody can know which."""
    notes = notes_of(job)
    if notes:
        notes.read()
    begun = [(job.pipeline.blocks.get(uuid), child) for uuid, child in (notes.begun if notes else ())]
    for block, child in begun:
        if block:
            call_back(job._replace(notes=notes), Step(block, child), status, job.outcome, error)
    if not begun:
        say("no block with callbacks was running: nobody is called back")


def _run(job: Job, step: Step, callback: Block, status: str, error: BaseException | None) -> None:
    code = job.sources.code(callback)
    given = addon_keywords(job, step, callback)
    if error is not None:
        given = {"__error": error, **given}
    functions = code.decorated(with_status(status))
    inputs = [_output(job, step)] if functions and status != "cancelled" else []
    with code.of_the_user():
        for function in code.decorated(_LEGACY.get(status, "")):
            call(function, [], given)
        for function in functions:
            _call(function, step, inputs, given)
        for function in code.decorated(BARE) if status == "success" else ():
            function()


def _call(function: Function, step: Step, inputs: list[Any], given: Mapping[str, Any]) -> None:
    if inputs and not takes_positionals(function):
        call(function, [], {**given, "__input": {step.block.uuid: inputs[0], "df_1": inputs[0]}})
    else:
        call(function, inputs, given)


def _output(job: Job, step: Step) -> Any:
    """Return what the block put out, as a block below would get it; an empty list if it left nothing."""
    try:
        return single(job.outputs.values(step.block, step.child))
    except Invalid:
        return []


def _warn(outcome: Outcome, text: str) -> None:
    outcome.warnings.append(text)
    say(f"warning: {text}")

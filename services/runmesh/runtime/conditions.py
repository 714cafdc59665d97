"""Conditional blocks: whether a block may run at all.

As Mage: each conditional block that names the block in its `upstream_blocks` is asked, every function of it with the
block's own inputs; all answers must be true, and an exception counts as false. Where Mage keeps that to its log, the
reason is kept in the outcome. A conditional block without a file or a condition is an error here.

Conditions that were met aren't asked again in a run: a block that used up what they look for, and then failed, must be
tried again, not left out. So a note is kept beside the outcomes, ``.runmesh/<run>/met/<block>``.
"""

from collections.abc import Mapping
from typing import Any, Final

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block
from runmesh.projects.addons import conditions_of
from runmesh.runtime.addons import addon_keywords
from runmesh.runtime.code import call
from runmesh.runtime.failed import Failed, in_short, say, tell
from runmesh.runtime.inputs import gather
from runmesh.runtime.job import Job
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.outputs import clean_name
from runmesh.runtime.places import place
from runmesh.runtime.steps import Step

_MET: Final[Mapping[str, Any]] = {"met": True}


def check_conditions(job: Job, step: Step, outcome: Outcome) -> bool:
    """Evaluate all conditions of a block and keep in its outcome that they are met, or the first that isn't.

    Raises `Invalid` for one that is none, `Failed` if inputs or the note can't be read or written.
    """
    note = _note(job, step)
    try:
        if note and place(note).exists(note):
            outcome.condition = _MET
            return True
        condition = _evaluate(job, step)
        if note and condition["met"]:
            place(note).write(note, b"")
    except OSError as error:
        raise Failed(f"block {step.name!r}: that its conditions are met can't be noted: {error}") from None
    outcome.condition = condition
    return not outcome.is_left_out


def _evaluate(job: Job, step: Step) -> Mapping[str, Any]:
    condition: Mapping[str, Any] = _MET
    inputs, merged = gather(step, job.pipeline.blocks, job.outputs)
    for conditional in conditions_of(job.pipeline, step.block):
        given = addon_keywords(job, step, conditional) | merged
        reason = _reason(job, conditional, inputs, given)
        if reason is not None:
            say(f"block {step.name!r} is left out, its condition {conditional.uuid!r} isn't met: {reason}")
            if condition["met"]:
                condition = {"met": False, "block": conditional.uuid, "reason": reason}
    return condition


def _note(job: Job, step: Step) -> str | None:
    """Return where it is noted that a block's conditions were met; a whole pipeline begins anew each time."""
    run = job.arguments.run
    if not run or job.step is None:
        return None
    child = "" if step.child is None else f".{step.child}"
    return f"{job.variables}/.runmesh/{run}/met/{clean_name(step.block.uuid)}{child}"


def _reason(job: Job, conditional: Block, inputs: list[Any], given: Mapping[str, Any]) -> str | None:
    """Say why a conditional block isn't met, or None."""
    if conditional.language != "python":
        raise Invalid(Problem(f"conditional {conditional.uuid}", f"a {conditional.language} block is no condition"))
    try:
        code = job.sources.code(conditional)
        functions = code.decorated("condition")
        if not functions:
            raise Invalid(Problem(f"conditional {conditional.uuid}", "it decorates no function with @condition"))
        with code.of_the_user():
            answers = [bool(call(function, inputs, given)) for function in functions]
    except Failed as error:
        tell(error)
        return in_short(error.__cause__ or error)
    refused = next((function for function, met in zip(functions, answers, strict=True) if not met), None)
    return None if refused is None else f"{getattr(refused, '__name__', 'the function')} returned false"

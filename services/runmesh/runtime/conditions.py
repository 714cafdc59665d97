"""Conditional blocks: whether a block may run at all.

As Mage: each conditional block that names the block in its `upstream_blocks` is asked, every function of it with the
block's own inputs; all answers must be true, and an exception counts as false. Where Mage keeps that to its log, the
reason is kept in the outcome. A conditional block without a file or a condition is an error here.
"""

from collections.abc import Mapping
from typing import Any

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block
from runmesh.runtime.addons import addon_keywords
from runmesh.runtime.code import call
from runmesh.runtime.failed import Failed, in_short, say, tell
from runmesh.runtime.inputs import gather
from runmesh.runtime.job import Job
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.steps import Step


def check_conditions(job: Job, step: Step, outcome: Outcome) -> bool:
    """Evaluate all conditions of a block and note the first that isn't met; raises `Invalid` for one that is none."""
    block = step.block
    inputs, merged = gather(step, job.pipeline.blocks, job.outputs)
    outcome.condition = {"met": True}
    for conditional in job.conditions(block):
        given = addon_keywords(job, step, conditional) | merged
        reason = _reason(job, conditional, inputs, given)
        if reason is not None:
            say(f"block {step.name!r} is left out, its condition {conditional.uuid!r} isn't met: {reason}")
            if outcome.condition["met"]:
                outcome.condition = {"met": False, "block": conditional.uuid, "reason": reason}
    return bool(outcome.condition["met"])


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

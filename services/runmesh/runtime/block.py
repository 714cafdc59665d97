"""Running one block, or one child of a dynamic block: conditions, inputs, code, outputs, tests, callbacks, each once.

Conditions come first: where they aren't met, nothing else runs. Success callbacks come last; failure callbacks once
the block has failed for good: by a mistake that no other attempt cures, or on its last attempt.
"""

from typing import Any

from runmesh.errors import Invalid
from runmesh.projects.addons import callbacks_of, conditions_of
from runmesh.runtime.checks import problems
from runmesh.runtime.failed import Failed, in_short, tell
from runmesh.runtime.inputs import gather
from runmesh.runtime.job import Job
from runmesh.runtime.keywords import keywords
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.steps import Step


def run_block(job: Job, step: Step, outcome: Outcome) -> Failed | Invalid | None:
    """Run a step with its conditions and callbacks, and fill in its outcome; return why it failed, already told."""
    try:
        _run(job, step, outcome)
    except (Failed, Invalid) as error:
        tell(error)
        outcome.error = in_short(error)
        call_back_for_failure(job, step, outcome, error)
        return error
    if not outcome.is_left_out:
        _call_back(job, step, "success", outcome)
    return None


def call_back_for_failure(job: Job, step: Step, outcome: Outcome, error: Failed | Invalid) -> None:
    """Run the failure callbacks of a block, if it has failed for good."""
    if isinstance(error, Invalid) or job.is_last_attempt:
        _call_back(job, step, "failure", outcome, error.__cause__ or error)


def _run(job: Job, step: Step, outcome: Outcome) -> None:
    block = step.block
    # A pipeline that runs in one process was checked as a whole, before its first block.
    if job.step is not None and (found := [*problems(job.pipeline, [block])]):
        raise Invalid(*found)
    if outcome.condition is None and any(conditions_of(job.pipeline, block)):
        from runmesh.runtime.conditions import check_conditions  # noqa: PLC0415 - most blocks have none

        if not check_conditions(job, step, outcome):
            return
    if block.type == "sensor" and job.arguments.skip_sensors:
        _keep(job, step, [], outcome)
    else:
        _execute(job, step, outcome)


def _execute(job: Job, step: Step, outcome: Outcome) -> None:
    block = step.block
    inputs, merged = gather(step, job.pipeline.blocks, job.outputs)
    given = keywords(job.project, job.pipeline, block, job.arguments, job.context, step.child) | merged
    code = job.sources.code(block)
    results: list[Any] = []
    if block.type == "sensor":
        code.sense(inputs, given, job.arguments.sensor_interval)
    else:
        results = code.run(inputs, given)
    _keep(job, step, results, outcome)
    if job.wants_tests:
        tested = code.test(results, given)
        outcome.passed, outcome.failed = tested
        if tested.failed:
            raise Failed(f"block {step.name!r}: {tested.failed} of {sum(tested)} tests failed")


def _keep(job: Job, step: Step, results: list[Any], outcome: Outcome) -> None:
    if step.block.configuration.get("dynamic"):
        from runmesh.projects.fanout import role  # noqa: PLC0415 - few blocks are dynamic
        from runmesh.runtime.children import fan_out  # noqa: PLC0415

        if role(step.block).dynamic:
            results = results[:2]  # items and metadata
            outcome.children = fan_out(step, results)
    outcome.outputs = job.outputs.write(step.block, results, step.child)


def _call_back(job: Job, step: Step, status: str, outcome: Outcome, error: BaseException | None = None) -> None:
    if any(callbacks_of(job.pipeline, step.block)):
        from runmesh.runtime.callbacks import call_back  # noqa: PLC0415 - most blocks have none

        call_back(job, step, status, outcome, error)

"""A whole pipeline in one process: its blocks run by the DAG, independent ones and children at the same time.

Each runs in a thread of its own, at most so many at once; one that runs alone has the main thread, as some code needs.
After the first failure what runs finishes, and nothing more starts. Retries are the process's, not the blocks': a next
attempt runs everything again, and failure callbacks run on the last.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from runmesh.errors import Invalid, Problem
from runmesh.projects import topological_order
from runmesh.runtime.block import run_block
from runmesh.runtime.checks import NEVER_RUN, problems
from runmesh.runtime.failed import Failed, in_short, say, tell
from runmesh.runtime.job import Job
from runmesh.runtime.kept import Kept
from runmesh.runtime.lines import whole_lines
from runmesh.runtime.notes import Notes, notes_of
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.progress import Progress
from runmesh.runtime.steps import Step

if TYPE_CHECKING:
    from queue import SimpleQueue

_MOST_WARNINGS: Final = 100
_SHOWN: Final = 20

Result = tuple[Failed | Invalid | None, Outcome]


def run_pipeline(job: Job) -> Failed | Invalid | None:
    """Run all blocks and fill in the job's outcome; return what went wrong, already told. Mistakes are found first."""
    job = job._replace(notes=_noted_before(job))
    order = tuple(name for name in topological_order(job.pipeline) if job.pipeline.blocks[name].type not in NEVER_RUN)
    if found := [*problems(job.pipeline, [job.pipeline.blocks[name] for name in order])]:
        return _told(job, Invalid(*found))
    outputs = Kept(job.outputs, everything=job.pipeline.cache_block_output_in_memory)
    whole = _Whole(job._replace(outputs=outputs), order)
    whole.run()
    job.outcome.blocks = report = whole.progress.report()
    if left_out := [uuid for uuid, state in report.items() if state == "condition_failed"]:
        say(f"left out, as conditions weren't met: {_listed(left_out)}")
    failure = whole.error()
    return _told(job, failure) if failure else None


class _Whole:
    """One run of a pipeline. Only the main thread touches it; the others run steps and hand in their results."""

    def __init__(self, job: Job, order: tuple[str, ...]) -> None:
        self._job = job
        self._slots = job.arguments.concurrency or max(2, _processors())
        self._errors: list[Failed | Invalid] = []
        self.progress = Progress(job.pipeline, order)

    def run(self) -> None:
        """Run all steps, until none is left or one has failed."""
        while len(steps := [*self._ready(self._slots)]) == 1:
            self._end(steps[0], _run(self._job, steps[0]))
        if steps:
            with whole_lines():
                self._run_side_by_side(steps)

    def error(self) -> Failed | Invalid | None:
        """Return one error for all blocks that failed; a mistake only if all are."""
        errors = [*self._errors, *filter(None, [self.progress.refused])]
        if not errors:
            return None
        text = f"these failed: {_listed(self.progress.failed)}; the first: {in_short(errors[0])}"
        only_mistakes = all(isinstance(error, Invalid) for error in errors)
        return Invalid(Problem("blocks", text)) if only_mistakes else Failed(text)

    def _run_side_by_side(self, steps: list[Step]) -> None:
        from queue import SimpleQueue  # noqa: PLC0415 - a pipeline that is a chain needs no threads
        from threading import Thread  # noqa: PLC0415

        done: SimpleQueue[tuple[Step, Result | BaseException]] = SimpleQueue()
        running = 0
        while steps or running:
            if len(steps) == 1 and not running:
                self._end(steps[0], _run(self._job, steps[0]))
            else:
                for step in steps:
                    Thread(target=_run_and_hand_in, args=(self._job, step, done), daemon=True).start()
                self._end(*done.get())
                running += len(steps) - 1
            steps = [*self._ready(self._slots - running)]

    def _ready(self, slots: int) -> Iterator[Step]:
        while slots > 0 and (step := self.progress.next()):
            yield step
            slots -= 1

    def _end(self, step: Step, result: Result | BaseException) -> None:
        if isinstance(result, BaseException):
            raise result
        error, found = result
        outcome = self._job.outcome
        outcome.passed += found.passed
        outcome.failed += found.failed
        outcome.warnings += found.warnings[: _MOST_WARNINGS - len(outcome.warnings)]
        if error:
            self._errors.append(error)
        state = "failed" if error else "condition_failed" if found.is_left_out else "completed"
        self.progress.end(step, state, found.children["count"] if found.children else None)


def _processors() -> int:
    """Return how many processors this process may use, where the system says so."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _noted_before(job: Job) -> Notes | None:
    """Return the notes, with what attempts before this one left behind: this one's own work is worth more than they."""
    notes = notes_of(job)
    try:
        if notes:
            notes.read()
    except Failed as error:
        say(f"warning: {error}")
    return notes


def _run(job: Job, step: Step) -> Result:
    outcome = Outcome([])
    if job.notes:
        job.notes.begin(step)
    error = run_block(job, step, outcome)
    if job.notes and outcome.is_left_out:
        job.notes.end(step)
    return error, outcome


def _run_and_hand_in(job: Job, step: Step, done: "SimpleQueue[tuple[Step, Result | BaseException]]") -> None:
    try:
        done.put((step, _run(job, step)))
    except BaseException as error:  # noqa: BLE001 - the main thread raises it, or it would wait for ever
        done.put((step, error))


def _told(job: Job, error: Failed | Invalid) -> Failed | Invalid:
    tell(error)
    job.outcome.error = in_short(error)
    if job.notes and not job.notes.begun:
        job.outcome.callbacks = ["failure"]  # of each block that there was to call back for
    return error


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

"""A whole pipeline in one process: its blocks run by the DAG, independent ones and children at the same time.

Each runs in a thread of its own, at most so many at once; one that runs alone has the main thread, as some code needs.
A block is tried again by its own rules (see `tries`). After the first that failed for good what runs finishes, and
nothing more starts, unless blocks may fail: then only what is below it doesn't. A next attempt of the process runs
everything again.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

from runmesh.errors import Invalid, Problem
from runmesh.projects import RetryPolicy, topological_order
from runmesh.runtime.block import call_back_for_failure, run_block
from runmesh.runtime.checks import NEVER_RUN, problems
from runmesh.runtime.failed import Failed, in_short, say, tell
from runmesh.runtime.job import Job
from runmesh.runtime.kept import Kept
from runmesh.runtime.lines import whole_lines
from runmesh.runtime.notes import Notes, notes_of
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.progress import Progress
from runmesh.runtime.tries import Try, Waiting, policies

if TYPE_CHECKING:
    from queue import SimpleQueue

_MOST_WARNINGS: Final = 100
_SHOWN: Final = 20

_ONCE: Final = RetryPolicy()

Result = tuple[Try, Failed | Invalid | BaseException | None]


def run_pipeline(job: Job) -> Failed | Invalid | None:
    """Run all blocks and fill in the job's outcome; return what went wrong, already told. Mistakes are found first."""
    job = job._replace(notes=_noted_before(job))
    order = tuple(name for name in topological_order(job.pipeline) if job.pipeline.blocks[name].type not in NEVER_RUN)
    blocks = [job.pipeline.blocks[name] for name in order]
    rules, mistakes = policies(blocks)
    if found := [*problems(job.pipeline, blocks), *mistakes]:
        return _told(job, Invalid(*found))
    outputs = Kept(job.outputs, everything=job.pipeline.cache_block_output_in_memory)
    whole = _Whole(job._replace(outputs=outputs), order, rules)
    whole.run()
    job.outcome.blocks = report = whole.progress.report()
    if left_out := [uuid for uuid, state in report.items() if state == "condition_failed"]:
        say(f"left out, as conditions weren't met: {_listed(left_out)}")
    failure = whole.error()
    return _told(job, failure) if failure else None


class _Whole:
    """One run of a pipeline. Only the main thread touches it; the others run steps and hand in their results."""

    def __init__(self, job: Job, order: tuple[str, ...], rules: Mapping[str, RetryPolicy]) -> None:
        self._job, self._policies = job, rules
        self._slots = job.arguments.concurrency or max(2, _processors())
        self._errors: list[Failed | Invalid] = []
        self._waiting = Waiting()
        self.progress = Progress(job.pipeline, order, may_fail=job.arguments.allow_blocks_to_fail)

    def run(self) -> None:
        """Run all steps, until none is left or one has failed for good."""
        while self._is_alone(tries := [*self._ready(self._slots)]):
            self._end(tries[0], _run(self._job, tries[0]))
        if tries or self._waiting:
            with whole_lines():
                self._run_side_by_side(tries)

    def error(self) -> Failed | Invalid | None:
        """Return one error for all blocks that failed; a mistake only if all are."""
        errors = [*self._errors, *filter(None, [self.progress.refused])]
        if not errors:
            return None
        text = f"these failed: {_listed(self.progress.failed)}; the first: {in_short(errors[0])}"
        only_mistakes = all(isinstance(error, Invalid) for error in errors)
        return Invalid(Problem("blocks", text)) if only_mistakes else Failed(text)

    def _run_side_by_side(self, tries: list[Try]) -> None:
        from queue import SimpleQueue  # noqa: PLC0415 - a pipeline that is a chain needs no threads
        from threading import Thread  # noqa: PLC0415

        done: SimpleQueue[Result] = SimpleQueue()
        running = 0
        while tries or running or self._waiting:
            if self._is_alone(tries) and not running:
                self._end(tries[0], _run(self._job, tries[0]))
            else:
                for each in tries:
                    Thread(target=_run_and_hand_in, args=(self._job, each, done), daemon=True).start()
                running += len(tries)
                running -= self._take(done, until_due=running < self._slots)
            tries = [*self._ready(self._slots - running)]

    def _take(self, done: "SimpleQueue[Result]", *, until_due: bool) -> int:
        """Wait for a result, or until something is due to be tried again; return how many results there were."""
        from queue import Empty  # noqa: PLC0415 - as above

        try:
            self._end(*done.get(timeout=self._waiting.seconds() if until_due else None))
        except Empty:
            return 0
        return 1

    def _is_alone(self, tries: list[Try]) -> bool:
        return len(tries) == 1 and not self._waiting

    def _ready(self, slots: int) -> Iterator[Try]:
        for each in islice(self._waiting.due(), slots):
            slots -= 1
            yield each
        while slots > 0 and (step := self.progress.next()):
            yield Try(step, Outcome([]), self._policies.get(step.block.uuid, _ONCE))
            slots -= 1

    def _end(self, ended: Try, error: Failed | Invalid | BaseException | None) -> None:
        match error:
            case Failed() if not ended.is_last and not self.progress.is_stopped:
                self._waiting.add(ended, error)
                return
            case Failed() if not ended.is_last:
                self._give_up(ended, error)
            case Failed() | Invalid() | None:
                self._settle(ended, error)
            case _:
                raise error
        if self.progress.is_stopped:
            for each, why in self._waiting.give_up():
                self._give_up(each, why)

    def _give_up(self, failed: Try, error: Failed) -> None:
        """Settle what is not tried again, as something else has failed for good."""
        last = failed.given_up()
        call_back_for_failure(last.of(self._job), last.step, last.outcome, error)
        self._settle(last, error)

    def _settle(self, ended: Try, error: Failed | Invalid | None) -> None:
        outcome, found = self._job.outcome, ended.outcome
        outcome.passed += found.passed
        outcome.failed += found.failed
        outcome.warnings += found.warnings[: _MOST_WARNINGS - len(outcome.warnings)]
        if error:
            self._errors.append(error)
        state = "failed" if error else "condition_failed" if found.is_left_out else "completed"
        self.progress.end(ended.step, state, found.children["count"] if found.children else None)


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


def _run(job: Job, this: Try) -> Failed | Invalid | None:
    if job.notes:
        job.notes.begin(this.step)
    error = run_block(this.of(job), this.step, this.outcome)
    if job.notes and this.outcome.is_left_out:
        job.notes.end(this.step)
    return error


def _run_and_hand_in(job: Job, this: Try, done: "SimpleQueue[Result]") -> None:
    try:
        done.put((this, _run(job, this)))
    except BaseException as error:  # noqa: BLE001 - the main thread raises it, or it would wait for ever
        done.put((this, error))


def _told(job: Job, error: Failed | Invalid) -> Failed | Invalid:
    tell(error)
    job.outcome.error = in_short(error)
    if job.notes and not job.notes.begun:
        job.outcome.callbacks = ["failure"]  # of each block that there was to call back for
    return error


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

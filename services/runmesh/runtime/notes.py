"""Which blocks of a whole pipeline began and have called nobody back yet, noted beside the outcomes of the run.

A process that is stopped or killed can't call back for what it was running. A task of its own does so, for the blocks
in ``<variables>/.runmesh/<run>/_pipeline.json``. The file is the run's: what one attempt left behind stays in it until
another has run it. A block is taken out before it calls back, so that no callback is called twice: one that is in the
middle when its process dies has been called. Only blocks that have such callbacks are noted.
"""

import json
from _thread import allocate_lock
from collections.abc import Collection
from typing import Final, NamedTuple

from runmesh.projects import outcome_path
from runmesh.projects.addons import statuses_of
from runmesh.runtime.failed import Failed, say
from runmesh.runtime.job import Job
from runmesh.runtime.places import place
from runmesh.runtime.steps import Step

_NAME: Final = "_pipeline"
"""No key of a task is called so."""


class Begun(NamedTuple):
    """A block that began, or one of its children."""

    block: str
    child: int | None


def notes_of(job: Job) -> "Notes | None":
    """Return the notes of a whole pipeline; None without a run, or where no block has callbacks that need them."""
    blocks = job.pipeline.blocks
    noted = {uuid for uuid, block in blocks.items() if statuses_of(job.project, job.pipeline, block)}
    run = job.arguments.run
    return Notes(outcome_path(job.variables, run, _NAME), noted) if run and noted else None


class Notes:
    """The notes of one run, which blocks that run at the same time share."""

    def __init__(self, path: str, noted: Collection[str]) -> None:
        self._path, self._noted, self._place = path, noted, place(path)
        self._begun: dict[Begun, None] = {}
        self._is_stale = False
        self._writing = allocate_lock()

    @property
    def begun(self) -> list[Begun]:
        """The blocks that began and have called nobody back."""
        return [*self._begun.copy()]

    def read(self) -> None:
        """Take up what was noted before; raises `Failed` if it can't be read."""
        try:
            content = self._place.read(self._path)
            self._begun = {Begun(*entry): None for entry in json.loads(content or "[]")}
        except (OSError, ValueError, TypeError) as error:
            raise Failed(f"which blocks had begun can't be read from {self._path}: {error}") from None

    def begin(self, step: Step) -> None:
        """Note that a block begins."""
        begun = Begun(step.block.uuid, step.child)
        if step.block.uuid in self._noted and begun not in self._begun:
            self._begun[begun] = None
            self._write()

    def end(self, step: Step) -> None:
        """Note that a block is about to call back, or never will."""
        begun = Begun(step.block.uuid, step.child)
        if begun in self._begun:
            del self._begun[begun]
            self._write()

    def _write(self) -> None:
        """Write what is so now, once for all blocks that have waited for the same write."""
        self._is_stale = True
        with self._writing:
            if not self._is_stale:
                return
            self._is_stale = False
            try:
                self._place.write(self._path, json.dumps(self.begun).encode())
            except OSError as error:
                say(f"warning: which blocks have begun can't be noted in {self._path}: {error}")

"""Projects and pipelines kept in memory, read again only after their file has changed.

A resolver asks for the same few documents thousands of times a second: an answer is a dictionary look-up, and a stat
call once in `max_age`. What is wrong with a document is kept like the document. A name without a file of its own is not
kept, so that strangers' names don't fill the memory.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, UnsafePath
from runmesh.projects.files import METADATA
from runmesh.projects.model import Pipeline, Project
from runmesh.projects.reading import find_project, load_pipeline, load_project
from runmesh.projects.triggers import TRIGGERS, Triggers, load_triggers

Signature = tuple[int, int, int] | None
MAX_AGE: Final = 0.2
"""Seconds for which an answer is given without a look at the disk."""


class _Kept(NamedTuple):
    result: Any
    signature: Signature
    checked: float


class ProjectCache:
    """The projects of one directory. Equal answers are the same object, as long as the file is the same."""

    def __init__(self, projects_dir: Path, environment: Mapping[str, str], *, max_age: float = MAX_AGE) -> None:
        self._dir, self._environment, self._max_age = projects_dir, environment, max_age
        self._kept: dict[tuple[str, ...], _Kept] = {}

    def project(self, name: str) -> Project:
        """Return a project; raises as `find_project` and `load_project`."""
        document = f"{self._dir}/{name}/{METADATA}"
        project: Project = self._current(
            (name,), document, lambda: load_project(find_project(self._dir, name), self._environment)
        )
        return project

    def pipeline(self, name: str, pipeline: str) -> Pipeline:
        """Return a pipeline of a project; raises as `project` and `load_pipeline`."""
        project = self.project(name)
        document = f"{project.path}/pipelines/{pipeline}/{METADATA}"
        found: Pipeline = self._current((name, pipeline), document, lambda: load_pipeline(project, pipeline))
        return found

    def triggers(self, name: str, pipeline: str) -> Triggers:
        """Return the triggers of a pipeline that exists; raises as `project`."""
        project = self.project(name)
        document = f"{project.path}/pipelines/{pipeline}/{TRIGGERS}"
        found: Triggers = self._current((name, pipeline, TRIGGERS), document, lambda: load_triggers(project, pipeline))
        return found

    def _current(self, key: tuple[str, ...], document: str, load: Callable[[], Any]) -> Any:
        now, kept = monotonic(), self._kept.get(key)
        if kept and now - kept.checked < self._max_age:
            return _given(kept.result)
        signature = _signature(document)
        # The signature is older than what is read: a change in between is seen at the next look.
        result = kept.result if kept and kept.signature == signature else _outcome(load)
        if signature and not isinstance(result, UnsafePath):
            self._kept[key] = _Kept(result, signature, now)
        else:
            self._kept.pop(key, None)
        return _given(result)


def _signature(path: str) -> Signature:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a third of pathlib's time
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _outcome(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Invalid as error:
        return error


def _given(result: Any) -> Any:
    if isinstance(result, Invalid):
        # A new one each time: a raised exception grows a traceback.
        raise type(result)(*result.problems)
    return result

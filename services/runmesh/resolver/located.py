"""From the textual place of a problem to a file and a line.

Problems name places as people write them, and they are the same on the wire, where nobody has the files::

    metadata.yaml: k8s_executor_config.namespace       a value of a document
    pipelines/orders/metadata.yaml:14                  a line of a document that couldn't be read
    block load: executor_config.namespace              a value of the pipeline at hand
    DEFAULT_EXECUTOR_TYPE                              no file at all
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import Project, files
from runmesh.projects.files import METADATA
from runmesh.projects.lines import Lines, kept_lines, lines_of_template

_KINDS: Final = ("blocks", "callbacks", "conditionals")
_LARGEST: Final = 16_000_000
"""Bytes of a document whose lines are counted: no less than those that are read."""


class Severity(StrEnum):
    """Whether a run is refused."""

    ERROR = "error"
    WARNING = "warning"


class Finding(NamedTuple):
    """One problem, with its place in a file."""

    severity: Severity
    file: str | None
    """Below the project; None: it is in no file, such as the environment."""
    line: int | None
    path: str
    """What it is about: a value's path, or a block's name; empty if it is the file as a whole."""
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Document:
    """A document of a project, and the lines of its values."""

    name: str
    lines: Lines
    same_lines: bool = True
    """Problems that name a line mean a line of the file as it is written."""


def project_document(project: Project) -> Document:
    """Return a project's document, which is a template."""
    written = _text(project.path, METADATA)
    try:
        rendered = project.templates.render_document(written, where=METADATA)
    except Invalid:
        return Document(METADATA, Lines(written))
    return Document(METADATA, lines_of_template(written, rendered), kept_lines(written, rendered))


def document(project: Project, name: str) -> Document:
    """Return any other document of a project."""
    return Document(name, Lines(_text(project.path, name)))


@dataclass(frozen=True)
class Places:
    """The documents in which a pipeline's problems may be: its own, its triggers' and the project's."""

    project: Document
    pipeline: Document | None = None
    triggers: Document | None = None

    def finding(self, severity: Severity, problem: Problem) -> Finding:
        """Find the place of a problem."""
        return Finding(severity, *self._place(problem.path), problem.message, problem.hint)

    def _place(self, path: str) -> tuple[str | None, int | None, str]:
        if self.pipeline and path.startswith("block "):
            return self.pipeline.name, _line_of_block(self.pipeline.lines, path.removeprefix("block ")), path
        for each, name in self._named():
            if path == name or path.startswith(f"{name}:"):
                return _inside(each, path[len(name) + 1 :].strip())
        for each, _ in self._named():
            line, rest = each.lines.find(path)
            if not rest:
                return each.name, line, path
        return None, None, path

    def _named(self) -> Iterator[tuple[Document, str]]:
        if self.pipeline:
            yield self.pipeline, self.pipeline.name
            yield self.pipeline, "pipeline"
            yield self.pipeline, f"pipeline {self.pipeline.name.split('/')[1]}"
        if self.triggers:
            yield self.triggers, self.triggers.name
        yield self.project, self.project.name


def _inside(document: Document, path: str) -> tuple[str, int, str]:
    if path.isdecimal():
        return document.name, int(path) if document.same_lines else 1, ""
    return document.name, document.lines.find(path).line, path


def _line_of_block(lines: Lines, path: str) -> int:
    """Return the line of something about a block, of whichever kind the block is."""
    found = (lines.find(f"{kind}.{path}") for kind in _KINDS)
    return min(found, key=lambda each: len(each.rest)).line


def _text(project: Path, name: str) -> str:
    try:
        return files.read(files.inside(project, name, where=name), name, _LARGEST)
    except Invalid:
        return ""

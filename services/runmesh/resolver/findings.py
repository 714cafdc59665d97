"""Every mistake of a project at once, each with its file and line: what `runmesh validate` prints.

For each pipeline: what reading and explaining it finds, as the resolver would for a request, and what no request waits
for but a person wants to know before the first run: sources that are missing, broken or undecorated. A pipeline's
findings hold those of its project, since they would stop it as well. Never raises for what a project holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block, Pipeline, Project, Templates, load_pipeline, load_project
from runmesh.projects.files import METADATA
from runmesh.projects.sources import Fault, faults_of
from runmesh.projects.triggers import TRIGGERS, load_triggers
from runmesh.resolver.explain import explain
from runmesh.resolver.located import Finding, Places, Severity, document, project_document


@dataclass(frozen=True)
class Report:
    """What was found in a project."""

    project: str
    shared: tuple[Finding, ...]
    """In the project's own document."""
    pipelines: Mapping[str, tuple[Finding, ...]]
    """By pipeline, those without findings included."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, each once, in the order of the files and their lines."""
        distinct = dict.fromkeys(chain(self.shared, *self.pipelines.values()))
        return tuple(sorted(distinct, key=lambda each: (each.file or "", each.line or 0)))

    def count(self, severity: Severity) -> int:
        """Count the errors, or the warnings."""
        return sum(each.severity is severity for each in self.findings)


def findings_in(project_dir: Path, *, environment: Mapping[str, str]) -> Report:
    """Look for mistakes in a project and all of its pipelines; `environment` is what its templates see."""
    project, problems = _project(project_dir, environment)
    places = Places(project_document(project))
    shared = tuple(_found(places, problems, project.warnings))
    pipelines: dict[str, tuple[Finding, ...]] = {}
    for name in project.pipeline_names():
        own = replace(
            places,
            pipeline=document(project, f"pipelines/{name}/{METADATA}"),
            triggers=document(project, f"pipelines/{name}/{TRIGGERS}"),
        )
        found = _OfPipeline(project, name, own, explained=not problems).findings()
        pipelines[name] = tuple(dict.fromkeys((*shared, *found)))
    return Report(project.name, shared, pipelines)


def _project(path: Path, environment: Mapping[str, str]) -> tuple[Project, tuple[Problem, ...]]:
    """Read a project. Its pipelines' documents can be looked at even if its own can't be read."""
    try:
        return load_project(path, environment), ()
    except Invalid as error:
        return Project(path.absolute().name, path.resolve(), {}, Templates(environment)), error.problems


def _found(places: Places, errors: Iterable[Problem], warnings: Iterable[Problem]) -> Iterator[Finding]:
    yield from (places.finding(Severity.ERROR, problem) for problem in errors)
    yield from (places.finding(Severity.WARNING, problem) for problem in warnings)


@dataclass(frozen=True)
class _OfPipeline:
    """The search in one pipeline."""

    project: Project
    name: str
    places: Places
    explained: bool
    """Not where the project's document couldn't be read: its values would be missed everywhere."""

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong."""
        try:
            pipeline = load_pipeline(self.project, self.name)
        except Invalid as error:
            yield from _found(self.places, error.problems, ())
            return
        yield from self._decisions(pipeline)
        for block in chain(pipeline.blocks.values(), pipeline.callbacks.values(), pipeline.conditionals.values()):
            yield from self._sources(pipeline, block)

    def _decisions(self, pipeline: Pipeline) -> Iterator[Finding]:
        errors, warnings = self._explained(pipeline)
        triggers = load_triggers(self.project, self.name)
        # They stop only a run that names a trigger: to others they are warnings.
        errors = (*errors, *triggers.problems)
        warnings = (each for each in (*warnings, *triggers.warnings) if each not in triggers.problems)
        return _found(self.places, errors, warnings)

    def _explained(self, pipeline: Pipeline) -> tuple[Iterable[Problem], Iterable[Problem]]:
        """Return the errors and the warnings of the pipeline's explanation."""
        if not self.explained:
            return (), pipeline.warnings
        explanation = explain(self.project.path, self.name, environment=self.project.templates.environment)
        return explanation.errors, explanation.warnings

    def _sources(self, pipeline: Pipeline, block: Block) -> Iterator[Finding]:
        try:
            for fault in faults_of(self.project, pipeline, block):
                yield self._in_source(block, fault)
        except Invalid as error:
            yield from _found(self.places, error.problems, ())

    def _in_source(self, block: Block, fault: Fault) -> Finding:
        if fault.file:
            return Finding(Severity.ERROR, fault.file, fault.line or 1, "", fault.message, fault.hint)
        key = "uuid" if block.content is None else "content"
        problem = Problem(f"block {block.uuid}: {key}", fault.message, fault.hint)
        return self.places.finding(Severity.ERROR, problem)._replace(path=f"block {block.uuid}")

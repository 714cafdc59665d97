"""Choosing the executor type of a block, or of a whole pipeline.

Every level gives an `Answer`; the first answer that names a type decides::

    request            the request's executor_type: any value is explicit
    pyspark_pipeline   the pipeline's type is pyspark (a sensor only if its source says 'spark', quoted)
    block              the block's executor_type
    pipeline           the pipeline's executor_type
    project            the project's executor_type (ours: Mage has none)
    DEFAULT_EXECUTOR_TYPE
    default            local_python

From `block` to `DEFAULT_EXECUTOR_TYPE`, nothing and `local_python` mean "not chosen here", as in Mage; so does a
template that renders to nothing. `local_python_force` chooses `local_python` and stops. A whole pipeline is chosen
without the sensor rule and without `block`. A name that is no executor type is an error at whichever level it stands,
even below the one that decides: Mage would run it locally without a word.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from runmesh.errors import Invalid, Problem, nearest
from runmesh.executor import installed_types
from runmesh.projects import Block, Pipeline, Project, Templates
from runmesh.projects.templates import is_template
from runmesh.subjects import ExecutorType

FORCE: Final = "local_python_force"
_LOCAL: Final = ExecutorType.LOCAL_PYTHON.value
_PYSPARK: Final = ExecutorType.PYSPARK.value


class Level(StrEnum):
    """Who may choose, in the order of precedence."""

    REQUEST = "request"
    PYSPARK_PIPELINE = "pyspark_pipeline"
    BLOCK = "block"
    PIPELINE = "pipeline"
    PROJECT = "project"
    ENVIRONMENT = "DEFAULT_EXECUTOR_TYPE"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that a level says and that was not used, with the reason."""

    level: str
    value: object
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one level says: a type, or None and the reason why it is not chosen here."""

    level: Level
    value: object = None
    """As it is written."""
    executor_type: str | None = None
    reason: str = ""
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """The executor type, the level that chose it with what is written there, and the levels before it."""

    executor_type: str
    level: Level
    value: object
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()
    replaced: str | None = None
    """The type that the project itself chose, where the request chose another one."""


_DEFAULT: Final = Answer(Level.DEFAULT, executor_type=_LOCAL)


def names_spark(source: str | None) -> bool:
    """Say whether a sensor's source holds ``'spark'`` or ``"spark"`` with its quotes, as Mage looks for it."""
    return source is not None and ("'spark'" in source or '"spark"' in source)


def decide(answers: Sequence[Answer]) -> ExecutorChoice:
    """Let the first answer that names a type decide; every answer's errors are kept."""
    place, chosen = next((n, answer) for n, answer in enumerate((*answers, _DEFAULT)) if answer.executor_type)
    before = answers[:place]
    return ExecutorChoice(
        chosen.executor_type or _LOCAL,
        chosen.level,
        chosen.value,
        skipped=tuple(Skipped(answer.level, answer.value, answer.reason) for answer in before),
        warnings=tuple(problem for answer in before for problem in answer.warnings),
        errors=tuple(problem for answer in answers for problem in answer.errors),
        replaced=_replaced(chosen, answers),
    )


def _replaced(chosen: Answer, answers: Iterable[Answer]) -> str | None:
    if chosen.level is not Level.REQUEST:
        return None
    own = next((a.executor_type for a in answers if a.executor_type and a.level is not Level.REQUEST), None)
    return own if own != chosen.executor_type else None


@dataclass
class Chooser:
    """Chooses for one pipeline and its blocks; what they share is asked once."""

    project: Project
    pipeline: Pipeline
    file: str
    """The pipeline's document, for messages."""
    request: str | None
    environment: Mapping[str, str]
    templates: Templates | None
    """None: the document came in a request, and is never rendered."""
    known: Collection[str] = field(default_factory=installed_types)

    def __post_init__(self) -> None:
        pipeline, project = self.pipeline.executor_type, self.project.executor_type
        default = self.environment.get(Level.ENVIRONMENT)
        self._rendered: dict[str, str] = {}
        self._request = self._from_request()
        self._shared = (
            self._from_text(Level.PIPELINE, pipeline, f"{self.file}: executor_type", "pipeline level"),
            self._from_text(Level.PROJECT, project, "metadata.yaml: executor_type", "project level"),
            self._named(Level.ENVIRONMENT, default, default, Level.ENVIRONMENT.value, "environment level"),
        )

    def for_pipeline(self) -> ExecutorChoice:
        """Choose for the pipeline as a whole."""
        return decide((self._request, self._pyspark(applies=True), *self._shared))

    def for_block(self, block: Block, source: str | None) -> ExecutorChoice:
        """Choose for one block; its source matters only for a sensor of a pyspark pipeline."""
        spark = self._pyspark(applies=block.type != "sensor" or names_spark(source))
        where, level = f"block {block.uuid}: executor_type", f"block level, {self.file}"
        own = self._from_text(Level.BLOCK, block.executor_type, where, level)
        return decide((self._request, spark, own, *self._shared))

    def rendered(self, text: str | None) -> str | None:
        """Return the text of an executor type as far as its template could be rendered."""
        return text if text is None else self._rendered.get(text, text)

    def _from_request(self) -> Answer:
        """Ask the request, where any value is explicit: `local_python` is a choice, an empty name an unknown one."""
        name = self.request
        if name is None:
            return Answer(Level.REQUEST, reason="not chosen here: absent")
        chosen = _LOCAL if name == FORCE else name
        errors = () if chosen in self.known else (self._unknown("request: executor_type", name, "request level"),)
        return Answer(Level.REQUEST, name, chosen or _LOCAL, errors=errors)

    def _pyspark(self, *, applies: bool) -> Answer:
        if self.pipeline.type != _PYSPARK:
            reason = f"the pipeline's type is {self.pipeline.type!r}"
            return Answer(Level.PYSPARK_PIPELINE, reason=f"not chosen here: {reason}")
        if not applies:
            return Answer(Level.PYSPARK_PIPELINE, reason="not chosen here: a sensor that does not mention 'spark'")
        return Answer(Level.PYSPARK_PIPELINE, self.pipeline.type, _PYSPARK)

    def _from_text(self, level: Level, text: str | None, where: str, named: str) -> Answer:
        """Ask a level whose value may be a template."""
        # A project's document is rendered before it is read: a template that gave nothing is text there.
        rendered_to_none = level is Level.PROJECT and text == str(None)
        if text is None or not (is_template(text) or rendered_to_none):
            return self._named(level, text, text, where, named)
        try:
            rendered = self._render(text, where).strip()
        except Invalid as error:
            return Answer(level, text, reason="its template can't be rendered", errors=error.problems)
        if rendered in ("", "None"):
            warning = Problem(where, f"{text!r} renders to {rendered!r}: not chosen here")
            return Answer(level, text, reason=f"not chosen here: renders to {rendered!r}", warnings=(warning,))
        return self._named(level, text, rendered, where, named)

    def _render(self, text: str, where: str) -> str:
        if self.templates is None:
            raise Invalid(Problem(where, f"{text!r}: what comes in a request is never rendered", "write the value"))
        if text not in self._rendered:
            self._rendered[text] = self.templates.render(text, where=where)
        return self._rendered[text]

    def _named(self, level: Level, value: object, name: str | None, where: str, named: str) -> Answer:
        """Take a name as a level says it; an unknown one is an error that still decides, so that it is seen."""
        if name is None or not name.strip():
            return Answer(level, value, reason=f"not chosen here: {'absent' if name is None else 'empty'}")
        if name == _LOCAL:
            return Answer(level, value, reason="not chosen here: local_python")
        if name == FORCE:
            return Answer(level, value, _LOCAL)
        errors = () if name in self.known else (self._unknown(where, name, named),)
        return Answer(level, value, name, errors=errors)

    def _unknown(self, where: str, name: str, named: str) -> Problem:
        return Problem(where, f"unknown executor type {name!r} ({named})", nearest(name, {*self.known, FORCE}))

"""How services log: one line per event on stderr, as JSON for machines or as text for people.

Every line names its service and its action; one about a task also `run`, `block`, `executor` and `attempt`, whoever
writes it (`task_lines`). Each outcome is logged once, by whoever's write decided it: a task's by the worker that owns
its terminal claim, a run's by the resolver whose fact was the first.

No line holds a secret (`redaction`): known are those of this process and of the task that the line is about.
Libraries are heard from warnings on only, at every level: what they tell for debugging is headers and bodies.
"""

import logging
import sys
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TextIO

import structlog

from runmesh import redaction
from runmesh.events import ExecuteTask
from runmesh.settings import Settings, environment
from runmesh.subjects import ExecutorType

EventDict = MutableMapping[str, Any]
_PLAIN: Final = frozenset(
    {"level", "timestamp", "service", "executor", "pool", "action", "run", "key", "attempt", "state", "cause"}
)
"""What is always a word of ours, or one by which a line is found."""
_MOST: Final = 5_000
"""Spellings of secrets that are looked for. A task may hold a hundred thousand: its lines then show no text at all."""
_OURS: Final = frozenset(ExecutorType)


@dataclass(slots=True)
class _About:
    """The task whose life this is."""

    task: ExecuteTask | None = None


_NOTHING: Final = _About()
_about: ContextVar[_About] = ContextVar("about", default=_NOTHING)


@contextmanager
def task_lines() -> Iterator[None]:
    """Let what is logged within be about one task, as soon as `about` says which."""
    mine = _About()
    before = _about.set(mine)
    try:
        yield
    finally:
        mine.task = None  # what was begun here, and lives on, is about other things
        _about.reset(before)


def about(task: ExecuteTask) -> None:
    """Say which task the lines of the present life are about."""
    if (mine := _about.get()) is not _NOTHING:
        mine.task = task


def configure(service: str, settings: Settings) -> None:
    """Set up logging for this process, once."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_text else "iso", utc=not as_text),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    render: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _Named(service),
        structlog.processors.format_exc_info,
        _Hiding(redaction.known_in(environment(), settings.model_dump(mode="json"))),
        _text() if as_text else structlog.processors.JSONRenderer(),
    ]
    foreign: list[structlog.typing.Processor] = [*shared, structlog.stdlib.ExtraAdder(["action"]), _of_library]
    handler = _Handler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=render, foreign_pre_chain=foreign))
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("runmesh").setLevel(level)


def _text() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,  # others show every local variable, secret or not
    )


def _of_library(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Let a library's line be about the library, unless it names its action (as `bus` does)."""
    line.setdefault("action", line["_record"].name)
    return line


class _Named:
    """Puts on every line the service's name, and what it is about."""

    def __init__(self, service: str) -> None:
        self._always = {"service": service}
        if service.startswith("executor "):
            self._always["executor"] = service.removeprefix("executor ")

    def __call__(self, _logger: Any, _method: str, line: EventDict) -> EventDict:
        task = _about.get().task
        known = {} if task is None else {"run": task.run, "block": task.block, "attempt": task.attempt}
        for name, value in {**self._always, **known}.items():
            line.setdefault(name, value)
        return line


class _Hiding:
    """Blanks secrets: the process's own, those of the task that a line is about, and whatever looks like one."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def __call__(self, _logger: Any, _method: str, line: EventDict) -> EventDict:
        known = self._known_with(_about.get().task)
        if known is None:
            return {name: value if name in _PLAIN else redaction.HIDDEN for name, value in line.items()}
        return {name: value if name in _PLAIN else _hidden(name, value, known) for name, value in line.items()}

    def _known_with(self, task: ExecuteTask | None) -> Collection[str] | None:
        """Find a task's secrets only when there is a line to write: that is seldom. Return None for too many."""
        if task is None:
            return self._known
        told = redaction.secrets_in([task.environment, _without_names(task), task.command, task.labels])
        found = list(islice(told, _MOST + 1))
        return None if len(found) > _MOST else redaction.longest_first({*self._known, *found})


def _hidden(name: str, value: Any, known: Collection[str]) -> Any:
    return redaction.HIDDEN if redaction.names_secret(name) else redaction.hidden(value, known)


def _without_names(task: ExecuteTask) -> Mapping[str, Any]:
    """Return a configuration without `secrets`: our executors only name them there, and the platform reads them."""
    ours = task.executor_type in _OURS
    return {key: value for key, value in task.config.items() if not (ours and key == "secrets")}


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr. Of a line that can't be written nothing is shown: the usual handler would, secrets and all."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = type(sys.exc_info()[1]).__name__
        with suppress(OSError, ValueError):
            self.stream.write(f"runmesh: a line of {record.name} can't be written: {error}{self.terminator}")

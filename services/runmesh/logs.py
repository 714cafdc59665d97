"""How services log: one line per event on stderr, as JSON for machines or as text for people.

Every line names its service and its action. What looks like a secret never gets there.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from runmesh.settings import Settings

_SECRET: Final = re.compile(r"token|password|secret|credential|authorization|api_key", re.IGNORECASE)
_USER_IN_URL: Final = re.compile(r"(\w+://)[^/@\s]+@")
_HIDDEN: Final = "***"

EventDict = MutableMapping[str, Any]


def configure(service: str, settings: Settings) -> None:
    """Set up logging for this process, once."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_text else "iso", utc=not as_text),
        _Named(service),
        hide_secrets,
    ]
    render: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=0,
                pad_level=False,
                exception_formatter=structlog.dev.plain_traceback,  # others show every local variable, secret or not
            )
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    foreign: list[structlog.typing.Processor] = [*shared, structlog.stdlib.ExtraAdder(["action"]), _of_library]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render], foreign_pre_chain=foreign
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def _of_library(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Let a library's line be about the library, unless it names its action (as `bus` does)."""
    line.setdefault("action", line["_record"].name)
    return line


class _Named:
    """Puts the service's name on every line."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, line: EventDict) -> EventDict:
        line.setdefault("service", self._service)
        return line


def hide_secrets(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Blank what a key calls a secret, and the user part of URLs."""
    for key, value in line.items():
        if _SECRET.search(key):
            line[key] = _HIDDEN
        elif isinstance(value, str):
            line[key] = _USER_IN_URL.sub(rf"\1{_HIDDEN}@", value)
    return line

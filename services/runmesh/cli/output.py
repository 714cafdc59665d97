"""How the command line speaks: results on stdout, everything else on stderr, colours only on a terminal."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GLYPHS: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("·", "dim"),
    "queued": ("○", "cyan"),
    "submitted": ("◔", "cyan"),
    "running": ("●", "bold blue"),
    "retrying": ("↻", "yellow"),
    "completed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "upstream_failed": ("↓", "dim red"),
    "condition_failed": ("∅", "dim"),
    "requested": ("○", "cyan"),
    "accepted": ("○", "cyan"),
    "failing": ("✗", "red"),
    "cancelling": ("⊘", "yellow"),
    "rejected": ("✗", "bold red"),
}
"""Glyph and style of every state, of runs and of blocks."""

_UNLIMITED: Final = 240
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def out() -> Console:
    """Return a console for results; where there is no terminal, nothing is cut to fit one."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)


def err() -> Console:
    """Return a console for what is no result: hints, progress, errors."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def emit(value: Any) -> None:
    """Write one line of JSON."""
    sys.stdout.write(to_json(value, exclude_none=True).decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell the user something that is no result."""
    err().print(Text(text, "dim"))


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def state_text(state: str) -> Text:
    """Return a state with its glyph, in its colour."""
    glyph, style = GLYPHS.get(state, ("?", ""))
    return Text(f"{glyph} {state}", style)


def duration(seconds: float | None) -> str:
    """Write a duration: 0.84 s, 12.4 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    match seconds:
        case None:
            return ""
        case _ if seconds < 1:
            return f"{seconds:.2f} s"
        case _ if seconds < _MINUTE:
            return f"{seconds:.1f} s"
        case _ if seconds < _HOUR:
            return f"{int(seconds // 60)} min {int(seconds % 60)} s"
        case _ if seconds < _DAY:
            return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // 60)} min"
        case _:
            return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def ago(at: datetime | None) -> str:
    """Write roughly how long ago something was: 40 s ago, 3 min ago."""
    if at is None:
        return ""
    seconds = max(0, int((now() - at).total_seconds()))
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - units of a thousand
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def table(*columns: str) -> Table:
    """Return an empty table in our style: a quiet head, no lines, a line for each row."""
    made = _Named(*columns, box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in made.columns:
        column.no_wrap = True
    return made


class _Named(Table):
    """A table whose first column is whole however narrow it is here: it names what the row is about."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first = self.columns[0]
        first.min_width = max((cell_len(str(cell)) for cell in first.cells), default=0)
        return super().__rich_console__(console, options)


def steps(commands: Sequence[tuple[str, str]]) -> Table:
    """Return what to type next, whole however narrow it is here, and what each command does."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column()
    made.add_column(style="cyan", min_width=max(len(command) for command, _ in commands))
    made.add_column(style="dim")
    for command, what in commands:
        made.add_row("", Text(command), Text(what))
    return made

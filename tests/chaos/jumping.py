"""A wall clock that can be set, for one kind of process at a time; how long something takes stays as it is.

Like the points, this is nothing of the product's: a service that is told of a file reads there by how much its clock
was set. The server has no part in that, so its clock and theirs are apart from then on.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

CLOCK: Final = "CHAOS_CLOCK"
"""The variable that names the file."""


class Jumping(datetime):
    """What a service takes for the time."""

    file: ClassVar[Path]

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        """Return the time as the file sets it."""
        return datetime.now(tz) + timedelta(seconds=ahead(cls.file))


def ahead(file: Path) -> float:
    """Return by how many seconds a clock was set forward."""
    with suppress(FileNotFoundError, ValueError):
        return float(file.read_text())
    return 0.0


def follow(file: Path) -> None:
    """Let every module of the product, in this process, take the time from the file."""
    Jumping.file = file
    for name, module in list(sys.modules.items()):
        if name.startswith("runmesh.") and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Jumping


def jumps(file: Path) -> Mapping[str, str]:
    """Return what a service must be told so that it follows."""
    return {CLOCK: str(file)}


def jump(file: Path, seconds: float) -> None:
    """Set a clock."""
    new = file.with_suffix(".new")
    new.write_text(str(ahead(file) + seconds))
    new.rename(file)

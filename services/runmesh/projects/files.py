"""Files of a project: names from outside never leave the directory they belong to.

Projects, pipelines, blocks and file paths are named by messages and documents. `inside` is the only way from such a
name to a path: it refuses what is absolute, climbs, or reaches outside through a symbolic link.
"""

import os
from pathlib import Path
from stat import S_ISREG
from typing import Final
from unicodedata import category

from runmesh.errors import Invalid, NotFound, Problem, UnsafePath, nearest

METADATA: Final = "metadata.yaml"
LARGEST_SOURCE: Final = 1_000_000
"""Bytes of a block's source."""
EXTENSIONS: Final = {"python": "py", "sql": "sql", "r": "r", "yaml": "yaml", "markdown": "md"}
"""By block language."""

_LONGEST_SEGMENT, _LONGEST_PATH = 255, 1024


def inside(directory: Path, name: str, *, where: str) -> Path:
    """Return the path `name` below `directory`, symbolic links followed; raises `UnsafePath` if it isn't below it."""
    if reason := unsafe(name):
        raise UnsafePath(Problem(where, f"{name[:200]!r} {reason}"))
    root = os.path.realpath(directory)
    path = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - pathlib raises for a loop of links
    if not path.startswith(root.rstrip("/") + "/"):
        raise UnsafePath(Problem(where, f"{name[:200]!r} leads outside {root}"))
    return Path(path)


def unsafe(name: str) -> str | None:
    """Say why this can't be a path below a directory, or None; looks at the name only, not at the disk."""
    segments = name.split("/")
    if any(category(character) in {"Cc", "Cs"} for character in name):
        return "holds a control character"
    if name.startswith("/"):
        return "is an absolute path"
    if "\\" in name:
        return "holds a backslash"
    if ".." in segments or not name.strip("./ "):
        return "is no path below a directory"
    if len(name.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_SEGMENT for part in segments):
        return "is too long"
    return None


def folder(directory: Path, name: str, kind: str) -> Path:
    """Return the folder of a project or pipeline; raises `UnsafePath`, or `NotFound` with the nearest name."""
    if "/" in name or name.startswith("."):
        raise UnsafePath(Problem(kind, f"{name[:200]!r} is no name of a folder"))
    path = inside(directory, name, where=kind)
    if not (path / METADATA).is_file():
        known = folders_with_metadata(directory)
        raise NotFound(Problem(kind, f"there is no {kind} {name!r}", nearest(name, known)))
    return directory / name


def folders_with_metadata(directory: Path) -> list[str]:
    """List the folders in a directory that hold a `metadata.yaml`, sorted; none if there is no such directory.

    A folder that nobody can name is left out: its name holds a control character, or is no UTF-8.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if not entry.name.startswith("."))
    except OSError:
        return []
    return [name for name in names if not unsafe(name) and (directory / name / METADATA).is_file()]


def read(path: Path, where: str, largest: int) -> str:
    """Read a text file of at most `largest` bytes; raises `Invalid` if it is larger, no file, or not UTF-8."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise Invalid(Problem(where, "is no file"))
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise Invalid(Problem(where, f"can't be read: {error.strerror}")) from None
    if len(data) > largest:
        raise Invalid(Problem(where, f"is larger than {largest:,} bytes"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(Problem(where, f"is not UTF-8: byte {error.start}")) from None

"""The code of a task in one zip: its project, and our runtime, which nobody has installed on the nodes.

The zip is named by its content, so a project that didn't change is uploaded once, and one that did never replaces what
another run still uses. Its root is on the import path of the driver and of Spark's executors.
"""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import runmesh
from runmesh.errors import Rejected, Unavailable

LARGEST: Final = 256_000_000
"""Bytes of a project's files."""
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv"})
_OURS: Final = ("__init__.py", "errors.py", "projects", "runtime")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Package:
    """The zip of a project that holds these files."""

    project: str
    files: "tuple[_File, ...]"

    @property
    def name(self) -> str:
        """What it is called: by its content, read once for the same files."""
        return _name(self)

    def content(self) -> bytes:
        """Pack it. Raises `Unavailable` if the project is being changed."""
        buffer, digest = BytesIO(), sha256()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in _members(self):
                entry = zipfile.ZipInfo(member.name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = member.mode << 16
                archive.writestr(entry, member.content)
                digest.update(member.identity)
        if _named(digest.hexdigest()) != self.name:
            raise Unavailable(f"{self.project} was changed while it was packed", 1.0)
        return buffer.getvalue()


def package(project: Path) -> Package:
    """Describe the package of a project's folder as it is now. Raises `Rejected`."""
    if not project.is_dir():
        raise Rejected(f"{project}: the worker has no such project (executor_config.project_path says where it is)")
    files = tuple(sorted(_files(project)))
    if (size := sum(each.size for each in files)) > LARGEST:
        raise Rejected(f"{project}: {size:,} bytes of files, more than the {LARGEST:,} that are sent to EMR")
    return Package(str(project), files)


class _File(NamedTuple):
    name: str
    size: int
    changed: int


def _files(root: Path) -> Iterator[_File]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                stat = path.stat()
                yield _File(str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns)


class _Member(NamedTuple):
    name: str
    mode: int
    content: bytes

    @property
    def identity(self) -> bytes:
        return f"{self.name}\0{self.mode}\0{len(self.content)}\0".encode(errors="surrogateescape") + self.content


@lru_cache(maxsize=64)
def _name(package: Package) -> str:
    digest = sha256()
    for member in _members(package):
        digest.update(member.identity)
    return _named(digest.hexdigest())


def _named(digest: str) -> str:
    return f"code-{digest[:32]}.zip"


def _members(package: Package) -> Iterator[_Member]:
    root, ours = Path(package.project), Path(runmesh.__file__).parent
    for file in package.files:
        yield _member(f"{root.name}/{file.name}", root / file.name)
    for name in _OURS:
        part = ours / name
        for path in [part] if part.is_file() else sorted(part.rglob("*.py")):
            yield _member(f"runmesh/{path.relative_to(ours)}", path)


def _member(name: str, path: Path) -> _Member:
    return _Member(name, path.stat().st_mode & 0o777, path.read_bytes())

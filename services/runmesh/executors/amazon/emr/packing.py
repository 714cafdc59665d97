"""The code of a task in one zip: its project, and our runtime, which nobody has installed on the nodes.

The zip is named by its content, so a project that didn't change is uploaded once, and one that did never replaces what
another run still uses. Its root is on the import path of the driver and of Spark's executors.
"""

import os
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import runmesh
from runmesh.errors import Rejected

LARGEST: Final = 256_000_000
"""Bytes of a project's files."""
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv"})
_OURS: Final = ("__init__.py", "errors.py", "projects", "runtime")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Package(NamedTuple):
    """A zip's name and content."""

    name: str
    content: bytes


def package(project: Path) -> Package:
    """Pack a project's folder, of which nothing may have changed since for the same package. Raises `Rejected`."""
    if not project.is_dir():
        raise Rejected(f"{project}: the worker has no such project (executor_config.project_path says where it is)")
    files = tuple(sorted(_files(project)))
    if (size := sum(each.size for each in files)) > LARGEST:
        raise Rejected(f"{project}: {size:,} bytes of files, more than the {LARGEST:,} that are sent to EMR")
    return _packed(str(project), files)


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


@lru_cache(maxsize=4)
def _packed(project: str, files: tuple[_File, ...]) -> Package:
    root, ours = Path(project), Path(runmesh.__file__).parent
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            _add(archive, f"{root.name}/{file.name}", root / file.name)
        for name in _OURS:
            part = ours / name
            for path in [part] if part.is_file() else sorted(part.rglob("*.py")):
                _add(archive, f"runmesh/{path.relative_to(ours)}", path)
    content = buffer.getvalue()
    return Package(f"code-{sha256(content).hexdigest()[:32]}.zip", content)


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (path.stat().st_mode & 0o777) << 16
    archive.writestr(entry, path.read_bytes())

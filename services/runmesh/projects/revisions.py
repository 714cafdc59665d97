"""The revision of a project: a digest of its documents and sources.

The same files give the same revision, wherever they lie. Data, outputs, logs and hidden folders don't count. A file is
read again only once its stat signature changes, so a repeat costs one walk.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Final

_SKIPPED: Final = {"__pycache__", "node_modules", "venv"}
_SUFFIXES: Final = frozenset(
    {".py", ".sql", ".r", ".yaml", ".yml", ".md", ".json", ".toml", ".txt", ".cfg", ".ini", ".sh", ".jinja", ".j2"}
)
_LARGEST: Final = 1_000_000


def revision(path: Path) -> str:
    """Return the digest of a project's files, as 64 hexadecimal digits; files that can't be read don't count."""
    digest = sha256()
    for name, file_digest in _digests(str(path)):
        digest.update(os.fsencode(name) + b"\0" + file_digest)
    return digest.hexdigest()


def _digests(root: str) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118 - os.walk is several times faster than pathlib
            if os.path.splitext(name)[1].lower() in _SUFFIXES and (digest := _current(path)):  # noqa: PTH122
                yield os.path.relpath(path, root), digest


def _current(path: str) -> bytes | None:
    try:
        stat = os.stat(path)  # noqa: PTH116
        if S_ISREG(stat.st_mode) and stat.st_size <= _LARGEST:
            return _digest(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        pass
    return None


@lru_cache(maxsize=20_000)
def _digest(path: str, _mtime: int, _size: int, _inode: int) -> bytes:
    return sha256(Path(path).read_bytes()).digest()

"""Where files are kept: a directory tree on this machine, or one behind fsspec (`s3://…`, `gs://…`).

A directory is written as a whole. On this machine it is prepared near its final place and renamed, so that nobody
ever sees half of it. An object store has no such rename: files are replaced one by one, and those that the new
directory doesn't have are removed last.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from runmesh.errors import Invalid, Problem

_STAGED: Final = ".staged"


class Place(Protocol):
    """A root that directories are published below; `target` is always a path or URL below it."""

    def publishing(self, target: str, near: str) -> AbstractContextManager[Path]:
        """Offer an empty local directory, and put it in the place of `target` when the block ends without an error.

        It is prepared in the directory `near`, which `target` is below.
        """

    def fetching(self, target: str) -> AbstractContextManager[Path | None]:
        """Offer a local directory with the files of `target`, or None if there is no such directory."""

    def write(self, target: str, data: bytes) -> None:
        """Replace one file as a whole."""

    def read(self, target: str) -> bytes | None:
        """Return what is in a file, None if there is no such file."""

    def exists(self, target: str) -> bool:
        """Say whether there is such a file."""


def place(root: str) -> Place:
    """Choose by the root's text; raises `Invalid` if its scheme needs a package that isn't installed."""
    return _Remote(root) if "://" in root else _Local()


def open_remote(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it; raises `Invalid` if a package for its scheme is missing."""
    options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
    try:
        import fsspec  # noqa: PLC0415 - only for a remote place

        files, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise Invalid(Problem(url, str(error), f"pip install what is missing for {sys.executable}")) from None
    except Exception as error:  # noqa: BLE001 - each store's client has errors of its own, for credentials above all
        raise Invalid(Problem(url, _in_words(error))) from None
    return files, path


class _Local:
    @contextmanager
    def publishing(self, target: str, near: str) -> Iterator[Path]:
        final = Path(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        # Not beside it: a block may have ten thousand children, among which leftovers would have to be looked for.
        name = target.removeprefix(f"{near}/").replace("/", "@")
        _remove_leftovers(near, name)
        staged = _staged(Path(near) / name)
        staged.mkdir()
        try:
            yield staged
            _replace(final, staged)
        except BaseException:
            _remove(staged)
            raise

    @contextmanager
    def fetching(self, target: str) -> Iterator[Path | None]:
        directory = Path(target)
        yield directory if directory.is_dir() else None

    def write(self, target: str, data: bytes) -> None:
        final = Path(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        staged = _staged(final)
        staged.write_bytes(data)
        staged.replace(final)

    def read(self, target: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return Path(target).read_bytes()
        return None

    def exists(self, target: str) -> bool:
        return os.path.exists(target)  # noqa: PTH110 - a path is made of it for nothing else


class _Remote:
    def __init__(self, root: str) -> None:
        self._files, _ = open_remote(root)

    @contextmanager
    def publishing(self, target: str, near: str) -> Iterator[Path]:  # noqa: ARG002 - nothing is prepared there
        with _temporary() as staged:
            yield staged
            with as_os_error():
                self._upload(staged, self._path(target))

    @contextmanager
    def fetching(self, target: str) -> Iterator[Path | None]:
        with _temporary() as fetched:
            with as_os_error():
                found = self._download(self._path(target), fetched)
            yield fetched if found else None

    def write(self, target: str, data: bytes) -> None:
        with as_os_error():
            self._files.pipe_file(self._path(target), data)

    def read(self, target: str) -> bytes | None:
        self._files.invalidate_cache()
        with suppress(FileNotFoundError), as_os_error():
            return bytes(self._files.cat_file(self._path(target)))
        return None

    def exists(self, target: str) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(self._path(target)))

    def _download(self, path: str, fetched: Path) -> bool:
        self._files.invalidate_cache()
        found = self._files.find(path)
        copies = [fetched / source.removeprefix(f"{path}/") for source in found]
        for directory in {copy.parent for copy in copies}:
            directory.mkdir(parents=True, exist_ok=True)
        if found:  # all at once: where the store can, files come side by side
            self._files.get(found, [str(copy) for copy in copies])
        return bool(found)

    def _upload(self, staged: Path, path: str) -> None:
        self._files.invalidate_cache()
        stale = set(self._files.find(path))
        for source in sorted(staged.rglob("*")):
            if source.is_file():
                copy = f"{path}/{source.relative_to(staged)}"
                self._files.put_file(str(source), copy)
                stale.discard(copy)
        if stale:
            self._files.rm(sorted(stale))

    def _path(self, target: str) -> str:
        return str(self._files._strip_protocol(target))  # noqa: SLF001 - fsspec offers no other way


@contextmanager
def as_os_error() -> Iterator[None]:
    """Let every failure of a store be an OSError: its client raises others for credentials and connections."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


@contextmanager
def _temporary() -> Iterator[Path]:
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - slow to import

    with TemporaryDirectory(prefix="runmesh-") as directory:
        yield Path(directory)


def _staged(final: Path) -> Path:
    # Not the process id: in two containers that share a disk it is 1.
    return final.with_name(f".{final.name}.{os.urandom(6).hex()}{_STAGED}")


def _replace(final: Path, staged: Path) -> None:
    old = staged.with_name(f"{staged.name}.old")
    with suppress(FileNotFoundError):
        final.rename(old)
    staged.rename(final)
    _remove(old)


def _remove_leftovers(directory: str, name: str) -> None:
    """Remove what an attempt that was killed left behind."""
    for entry in os.listdir(directory):  # noqa: PTH208 - names are all that is needed
        if entry.startswith(f".{name}.") and _STAGED in entry:
            _remove(Path(directory, entry))


def _remove(directory: Path) -> None:
    """Remove a tree, or what can be removed of it; `shutil` is slow to import."""
    with suppress(OSError):
        for path in sorted(directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        directory.rmdir()

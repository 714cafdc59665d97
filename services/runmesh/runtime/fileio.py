"""`FileIO` of `mage_ai.io.file`, where Mage isn't installed: the pipeline that `mage init` writes exports with it.

The file's extension says the format, unless `format` does. Options go to pandas (or polars, for a frame of its own).
Mage's connectors to databases and object stores need Mage itself.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

_FORMATS: Final = {
    "csv": "csv", "json": "json", "parquet": "parquet", "hdf5": "hdf", "xml": "xml", "xls": "excel", "xlsx": "excel",
    "excel": "excel",
}  # fmt: skip
"""Extensions and Mage's names of formats, and pandas' names for them."""


class FileIO:
    """Data frames from files, and to files."""

    def __init__(self, verbose: bool = False) -> None:  # noqa: FBT001, FBT002 - Mage's signature
        self.verbose = verbose

    def load(
        self,
        filepath: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002 - likewise
        file_directories: Iterable[str] | None = None,
        **options: Any,
    ) -> Any:
        """Read one file, or every file below some directories into one frame."""
        import pandas as pd  # noqa: PLC0415 - a tenth of a second and more

        paths = [filepath or ""] if not file_directories else list(_files_below(file_directories))
        frames = [getattr(pd, f"read_{_format(path, format)}")(path, **options) for path in paths]
        return pd.concat(frames, ignore_index=True) if file_directories else frames[0]

    def export(
        self,
        df: Any,
        filepath: str | os.PathLike[str],
        format: str | None = None,  # noqa: A002 - likewise
        **options: Any,
    ) -> None:
        """Write a frame to a file; pandas writes the index, too, unless the options say otherwise."""
        kind = _format(filepath, format)
        if type(df).__module__.startswith("polars"):
            getattr(df, f"write_{kind}")(filepath, **options)
            return
        if kind == "hdf":
            options.setdefault("key", os.path.splitext(os.path.basename(filepath))[0])  # noqa: PTH119, PTH122
        getattr(df, f"to_{kind}")(filepath, **options)

    def exists(self, filepath: str | os.PathLike[str]) -> bool:
        """Say whether there is such a file."""
        return os.path.exists(filepath)  # noqa: PTH110 - it is a text from the user


def _format(path: str | os.PathLike[str], named: str | None) -> str:
    name = named or os.path.splitext(path)[1].removeprefix(".")  # noqa: PTH122 - likewise
    if name not in _FORMATS:
        raise ValueError(f"{os.fspath(path)}: no format {name!r}, only {', '.join(_FORMATS)}")
    return _FORMATS[name]


def _files_below(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        for parent, _, names in os.walk(directory):
            yield from (os.path.join(parent, name) for name in sorted(names))  # noqa: PTH118 - likewise

"""DataFrames as Parquet, without importing pandas or polars for anybody who doesn't use them."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from runmesh.runtime.exact import is_json

PARQUET_FILE: Final = "data.parquet"
COLUMN_TYPES_FILE: Final = "data_column_types.json"
"""Mage's: by column, what the cells are; those that are dict or list were written as JSON texts."""

_FAMILIES: Final = ("pandas", "polars", "pyspark")
_FAITHFUL: Final = frozenset({"string", "empty", "bytes", "boolean", "date", "decimal"})
"""What columns of objects may hold to come back from Parquet as they were."""
_REFUSED: Final = (ValueError, TypeError, NotImplementedError, OverflowError)
"""What pandas and pyarrow raise for a value that Parquet has no place for."""


def family(value: Any) -> str | None:
    """Say whose DataFrame a value is, if it is one; a subclass (geopandas) is none."""
    kind = type(value)
    if kind.__name__ != "DataFrame":
        return None
    root = kind.__module__.split(".")[0]
    return root if root in _FAMILIES else None


def for_spark(frame: Any) -> Any:
    """Return a pandas DataFrame as Spark's, in a process that has a session."""
    spark = sys.modules.get("runmesh.runtime.spark")
    return spark.session().createDataFrame(frame) if spark else frame


def write_pandas(frame: Any, directory: Path) -> bool:
    """Write a pandas DataFrame, or say that Parquet would change it."""
    names = frame.columns
    if not names.is_unique or names.inferred_type.startswith("mixed") or (encoded := _encoded(frame)) is None:
        return False
    frame, types = encoded
    try:
        frame.to_parquet(directory / PARQUET_FILE, engine="pyarrow")
    except _REFUSED:
        return False
    if types:
        (directory / COLUMN_TYPES_FILE).write_text(json.dumps(types), encoding="utf-8")
    return True


def read_pandas(directory: Path) -> Any:
    """Read a pandas DataFrame that Mage or we wrote."""
    import pandas as pd  # noqa: PLC0415 - a tenth of a second and more

    frame = pd.read_parquet(directory / PARQUET_FILE, engine="pyarrow")
    for name, kind in _column_types(directory).items():
        if kind in {"dict", "list"} and name in frame:
            frame[name] = pd.Series([_decoded(cell) for cell in frame[name]], index=frame.index, dtype=object)
        elif kind in {"Int64", "int64", "float64"} and name in frame and not frame[name].isna().any():
            frame[name] = frame[name].astype(kind)
    return frame


def read_series(directory: Path) -> Any:
    """Read one pandas Series that Mage wrote; raises ValueError for a list of them."""
    frame = read_pandas(directory)
    if len(frame.columns) != 1:
        raise ValueError("several Series, which only Mage reads: runtime: mage")
    return frame.iloc[:, 0]


def write_polars(frame: Any, directory: Path) -> bool:
    """Write a polars DataFrame, or say that Parquet has no place for its Python objects."""
    import polars as pl  # noqa: PLC0415 - whoever has such a frame has imported it

    if any(kind == pl.Object for kind in frame.dtypes):
        return False
    frame.write_parquet(directory / PARQUET_FILE)
    return True


def read_polars(directory: Path) -> Any:
    """Read a polars DataFrame that Mage or we wrote."""
    import polars as pl  # noqa: PLC0415 - slow to import

    return pl.read_parquet(directory / PARQUET_FILE)


def _encoded(frame: Any) -> tuple[Any, dict[str, str]] | None:
    """Return the frame with dict and list cells as JSON texts, and those columns' types; None if some other can't."""
    from pandas.api.types import infer_dtype  # noqa: PLC0415 - imported by whoever has such a frame

    texts, types = {}, {}
    for name, dtype in frame.dtypes.items():
        if str(dtype) != "object" or infer_dtype(frame[name], skipna=True) in _FAITHFUL:
            continue
        kind = _common_type(frame[name])
        if kind is None or type(name) is not str:
            return None
        types[name] = kind
        texts[name] = [None if cell is None else json.dumps(cell) for cell in frame[name]]
    return (frame.assign(**texts) if texts else frame), types


def _common_type(cells: Any) -> str | None:
    """Return `dict` or `list` if all cells are such (or None), and JSON."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds not in ({dict}, {list}) or not all(map(is_json, cells)):
        return None
    return "dict" if kinds == {dict} else "list"


def _decoded(cell: Any) -> Any:
    if isinstance(cell, str):
        return json.loads(cell)
    if type(cell).__name__ == "ndarray":
        return cell.tolist()
    return cell if isinstance(cell, dict | list) else None


def _column_types(directory: Path) -> dict[str, str]:
    try:
        types = json.loads((directory / COLUMN_TYPES_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return types if isinstance(types, dict) else {}

"""One output as files in a directory, and back, under Mage's names, so that Mage's blocks and ours read each other.

=====================  ===================  =============================================================
the value              ``type`` written      file
=====================  ===================  =============================================================
pandas DataFrame       dataframe            data.parquet (and data_column_types.json for dict or list cells)
Spark DataFrame        dataframe            data.parquet, by way of pandas: what is larger belongs into a table
polars DataFrame       polars_dataframe     data.parquet
JSON as Python has it  iterable, or null    data.json
anything else          custom_object        object.joblib, a plain pickle, which joblib can load
=====================  ===================  =============================================================

`type.json` is written last. Only what comes back exactly as it was is stored as JSON or Parquet: a tuple, a dict with
keys that aren't texts, NaN, a numpy number, a DataFrame of mixed objects are pickled. Reading knows more types of Mage:
Series, sklearn's models, and lists and dicts of anything (`complex`).
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from runmesh.runtime import frames
from runmesh.runtime.exact import is_json

TYPE_FILE: Final = "type.json"
JSON_FILE: Final = "data.json"
PICKLE_FILE: Final = "object.joblib"
_PROTOCOL: Final = 4
"""Of pickle. What numpy 2 writes with 5, the numpy 1.26 that Mage needs can't read, and Mage then goes on with `{}`."""


class Unreadable(Exception):
    """A stored output that can't be read; the message says why."""


def store(value: Any, directory: Path) -> dict[str, Any]:
    """Write a value and return its description; raises whatever pickle does if it can't be stored."""
    if from_spark := frames.family(value) == "pyspark":
        value = value.toPandas()
    kind = _store_frame(value, directory) or _store_json(value, directory) or _store_pickle(value, directory)
    type_of_mage = None if kind == "json" else kind
    metadata = {"type": type_of_mage} | ({"pickle": True} if kind == "custom_object" else {})
    metadata |= {"spark": True} if from_spark else {}
    (directory / TYPE_FILE).write_text(json.dumps(metadata), encoding="utf-8")
    return describe(value)


def load(directory: Path) -> Any:
    """Read the value of a directory; raises `Unreadable` naming the file or Mage's type of it."""
    try:
        return _load(directory, _metadata(directory))
    except Unreadable:
        raise
    except ModuleNotFoundError as error:
        raise Unreadable(f"{directory} needs the package {error.name}, which is not installed here") from error
    except Exception as error:
        raise Unreadable(f"{directory} can't be read: {type(error).__name__}: {error}") from error


def describe(value: Any) -> dict[str, Any]:
    """Say what a value is: its type and, where it has such, its shape, or its rows."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
    if frames.family(value):
        return {"type": name, "rows": value.shape[0], "columns": value.shape[1]}
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return {"type": name, "shape": list(shape)}
    return {"type": name, "rows": len(value)} if isinstance(value, list | tuple | dict | set) else {"type": name}


def _store_frame(value: Any, directory: Path) -> str | None:
    match frames.family(value):
        case "pandas" if frames.write_pandas(value, directory):
            return "dataframe"
        case "polars" if frames.write_polars(value, directory):
            return "polars_dataframe"
    return None


def _store_json(value: Any, directory: Path) -> str | None:
    try:
        text = json.dumps(value, allow_nan=False)
        if not is_json(value):
            return None
    except (TypeError, ValueError, RecursionError):
        return None
    (directory / JSON_FILE).write_text(text, encoding="utf-8")
    return "iterable" if isinstance(value, list) else "json"


def _store_pickle(value: Any, directory: Path) -> str:
    import pickle  # noqa: PLC0415 - seldom needed

    with (directory / PICKLE_FILE).open("wb") as file:
        pickle.dump(value, file, protocol=_PROTOCOL)
    return "custom_object"


def _metadata(directory: Path) -> dict[str, Any]:
    """Return what `type.json` says; without one (old Mage) the file that is there says it."""
    try:
        metadata = json.loads((directory / TYPE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        metadata = {}
    if not metadata.get("type") and (directory / frames.PARQUET_FILE).exists():
        return {"type": "dataframe"}
    return dict(metadata)


def _load(directory: Path, metadata: dict[str, Any]) -> Any:
    kind = metadata.get("type")
    if kind == "custom_object":
        return _load_object(directory / PICKLE_FILE, plain=bool(metadata.get("pickle")))
    if kind in {None, "iterable"} and (directory / JSON_FILE).exists():
        return _load_json(directory)
    if reader := _READERS.get(kind or ""):
        return frames.for_spark(reader(directory)) if metadata.get("spark") else reader(directory)
    raise Unreadable(f"{directory} holds Mage's type {kind!r}, which only Mage reads: runtime: mage")


def _load_json(directory: Path) -> Any:
    return json.loads((directory / JSON_FILE).read_text(encoding="utf-8"))


def _load_complex(directory: Path) -> Any:
    from runmesh.runtime import complex as complexes  # noqa: PLC0415 - only for what Mage wrote

    try:
        return complexes.read(directory, _load_json(directory), _load_object)
    except complexes.NotKept as error:
        raise Unreadable(f"{directory} can't be read: {error}") from error


def _load_object(path: Path, *, plain: bool = False) -> Any:
    """Read a pickle; of Mage's, those with numpy's arrays need joblib, and without it say so."""
    if not path.exists():
        raise Unreadable(f"{path} isn't there: Mage keeps only the name of such a value")
    if not plain:
        with suppress(ModuleNotFoundError):
            import joblib  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - only for Mage's

            return joblib.load(path)
    import pickle  # noqa: PLC0415 - seldom needed

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - a block of the same run wrote it


_READERS: Final[Mapping[str, Callable[[Path], Any]]] = {
    "dataframe": frames.read_pandas,
    "polars_dataframe": frames.read_polars,
    "series_pandas": frames.read_series,
    "model_sklearn": lambda directory: _load_object(directory / "model.joblib"),
    "dictionary_complex": _load_complex,
    "list_complex": _load_complex,
}

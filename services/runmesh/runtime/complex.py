"""Lists and dicts that JSON doesn't hold, such as a dict with a date or a DataFrame in it, as Mage stores them.

``data.json`` holds what JSON can say of it, an outermost dict flattened (``{"a.b": 1}``); ``data_column_types.json``
the type of each value by its path (``a.b.0``); what could only be pickled is in ``<path>/object.joblib``. A DataFrame
is made of its JSON, as Mage does it: dates in one are texts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from runmesh.runtime.frames import COLUMN_TYPES_FILE

_COLLECTIONS: Final[Mapping[str, Callable[[list[Any]], Any]]] = {"list": list, "tuple": tuple, "set": set}

Types = Mapping[str, Mapping[str, Any]]


class NotKept(Exception):
    """Mage left the value's name and type only."""


def read(directory: Path, data: Any, load_object: Callable[[Path], Any]) -> Any:
    """Return the value of which `data` is the JSON; raises `NotKept` naming the part that Mage didn't store."""
    types: Types = json.loads((directory / COLUMN_TYPES_FILE).read_text(encoding="utf-8"))
    reader = _Reader(directory, types, load_object)
    if not isinstance(data, dict):
        return reader.read(data, ())
    unflattened: dict[str, Any] = {}
    for path, value in data.items():
        *parents, last = path.split(".")
        place = unflattened
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = reader.read(value, (path,))
    return unflattened


class _Reader:
    def __init__(self, directory: Path, types: Types, load_object: Callable[[Path], Any]) -> None:
        self._directory, self._types, self._load_object = directory, types, load_object

    def read(self, value: Any, keys: Sequence[str]) -> Any:
        about = self._types.get(".".join(keys), {})
        kind, module = about.get("name", ""), about.get("module", "builtins")
        if stored := about.get("path"):
            return self._load_object(self._inside(keys, stored))
        if module != "builtins":
            return _frame(kind, module, value, keys)
        if isinstance(value, list):
            return _COLLECTIONS.get(kind, list)([self.read(cell, (*keys, str(n))) for n, cell in enumerate(value)])
        if isinstance(value, dict):
            return {key: self.read(cell, (*keys, key)) for key, cell in value.items()}
        return value

    def _inside(self, keys: Sequence[str], stored: str) -> Path:
        """Return where an object is: the path that Mage notes is the one on the machine that wrote it."""
        path = self._directory.joinpath(*keys, Path(stored).name).resolve()
        if not path.is_relative_to(self._directory.resolve()):
            raise NotKept(f"{stored} is outside of it")
        return path


def _frame(kind: str, module: str, value: Any, keys: Sequence[str]) -> Any:
    root = module.partition(".")[0]
    if kind == "DataFrame" and root in {"pandas", "polars"}:
        import importlib  # noqa: PLC0415 - seldom needed

        return importlib.import_module(root).DataFrame(value)
    if root == "numpy" and isinstance(value, int | float | bool):  # a float64 is a float
        return value
    raise NotKept(f"Mage keeps no {module}.{kind} inside a list or dict ({'.'.join(keys)})")

"""Reading one mapping of a document key by key, noting every problem instead of stopping at the first.

What was never asked for is what Mage doesn't know: see `Fields.rest`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date
from functools import partial
from math import inf
from typing import Any, Final

from runmesh.errors import Invalid, Problem, UnsafePath, nearest
from runmesh.projects.files import unsafe

MOST_PROBLEMS: Final = 50
"""Of one document; more are only counted."""

Hint = Callable[[], str | None]
"""Called only for a problem that is noted: to find the nearest of many names takes long."""

_KINDS: Final = {str: "text", int: "a number", float: "a number", bool: "true or false", type(None): "empty"}


class Problems:
    """The problems and warnings of one document."""

    def __init__(self, document: str) -> None:
        self._document = document
        self._errors: list[Problem] = []
        self._more = 0
        self._unsafe = False
        self.warnings: list[Problem] = []

    def add(self, path: str, message: str, hint: Hint | None = None, *, unsafe: bool = False) -> None:
        """Note what is wrong at a path inside the document."""
        self._unsafe = self._unsafe or unsafe
        if len(self._errors) < MOST_PROBLEMS:
            self._errors.append(self._problem(path, message, hint))
        else:
            self._more += 1

    def warn(self, path: str, message: str, hint: Hint | None = None) -> None:
        """Note what is ignored."""
        if len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(self._problem(path, message, hint))

    def raise_any(self) -> None:
        """Raise all that was noted, as one `Invalid` (an `UnsafePath` if any is one)."""
        if self._more:
            self._errors.append(Problem(self._document, f"and {self._more} more problems"))
        if self._errors:
            raise (UnsafePath if self._unsafe else Invalid)(*self._errors)

    def _problem(self, path: str, message: str, hint: Hint | None) -> Problem:
        where = ": ".join(part for part in (self._document, path) if part)
        return Problem(where, message, hint() if hint else None)


class Fields:
    """One mapping of a document. A key of the wrong type is a problem and reads as its default, as null does."""

    def __init__(self, values: Mapping[str, Any], problems: Problems, path: str = "") -> None:
        self._values, self._problems, self._path = values, problems, path
        self._known: set[str] = set()

    def text(self, key: str) -> str | None:
        """Read text; whole numbers and dates are taken as they are written."""
        value = self._get(key)
        if isinstance(value, date | int) and not isinstance(value, bool):
            return str(value)
        text: str | None = self._typed(key, str, "text")
        return text

    def name(self, key: str) -> str:
        """Read a name that must be there, and that may become part of a path."""
        value = self.text(key)
        if not value:
            if self._values.get(key) in (None, ""):
                self.problem(key, "is missing")
        elif reason := unsafe(value):
            self.problem(key, f"{value[:200]!r} {reason}", unsafe=True)
        return value or ""

    def one_of(self, key: str, valid: Collection[str], default: str | None) -> str:
        """Read one of some values; without a default it must be there."""
        value = self.text(key)
        if value is None and default is None and self._values.get(key) is None:
            self.problem(key, "is missing", partial(nearest, "", valid))
        if value is not None and value not in valid:
            self.problem(key, f"{value[:200]!r} is not known", partial(nearest, value, valid))
        return value or default or ""

    def flag(self, key: str) -> bool | None:
        """Read true or false."""
        flag: bool | None = self._typed(key, bool, "true or false")
        return flag

    def number(self, key: str) -> float | None:
        """Read a finite number."""
        number: float | None = self._typed(key, float | int, "a number")
        if number is not None and not -inf < number < inf:
            self.problem(key, "must be a finite number")
            return None
        return number

    def names(self, key: str) -> tuple[str, ...]:
        """Read a list of names; one that is there twice counts once."""
        items = self._typed(key, list, "a list of names") or []
        for index, item in enumerate(items):
            if not isinstance(item, str | int) or isinstance(item, bool):
                self.problem(f"{key}[{index}]", f"must be text, not {kind_of(item)}")
        names = tuple(dict.fromkeys(map(str, items)))
        if len(names) < len(items):
            self.warn(key, "names something twice")
        return names

    def mapping(self, key: str) -> dict[str, Any]:
        """Read a mapping as it is."""
        mapping: dict[str, Any] = self._typed(key, Mapping, "a mapping") or {}
        return mapping

    def config(self, key: str) -> dict[str, Any]:
        """Read a mapping that will be JSON: dates become text."""
        config: dict[str, Any] = jsonable(self.mapping(key))
        return config

    def each(self, key: str) -> Iterator["Fields"]:
        """Read a list of mappings."""
        for index, item in enumerate(self._typed(key, list, "a list") or []):
            path = f"{key}[{index}]"
            if isinstance(item, dict):
                yield Fields(item, self._problems, self._inner(path))
            else:
                self.problem(path, f"must be a mapping, not {kind_of(item)}")

    def inside(self, key: str) -> "Fields":
        """Read a mapping key by key."""
        return Fields(self.mapping(key), self._problems, self._inner(key))

    def under(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """Read a mapping of mappings."""
        for name, item in self.mapping(key).items():
            path = f"{key}.{name}"
            if isinstance(item, dict):
                yield name, Fields(item, self._problems, self._inner(path))
            else:
                self.problem(path, f"must be a mapping, not {kind_of(item)}")

    def has(self, key: str) -> bool:
        """Say whether a key is there and not null."""
        return self._get(key) is not None

    def raw(self, key: str) -> Any:
        """Read a value of any type."""
        return self._get(key)

    def rest(self) -> dict[str, Any]:
        """Return what was never asked for, with a warning for each: Mage ignores it, too."""
        rest = {key: value for key, value in self._values.items() if key not in self._known}
        for key in rest:
            self.warn(key[:200], "is not known, and ignored", partial(nearest, key, self._known))
        return rest

    def problem(self, key: str, message: str, hint: Hint | None = None, *, unsafe: bool = False) -> None:
        """Note a problem with a key."""
        self._problems.add(self._inner(key), message, hint, unsafe=unsafe)

    def warn(self, key: str, message: str, hint: Hint | None = None) -> None:
        """Note a warning about a key."""
        self._problems.warn(self._inner(key), message, hint)

    def _get(self, key: str) -> Any:
        self._known.add(key)
        return self._values.get(key)

    def _typed(self, key: str, kind: Any, expected: str) -> Any:
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.problem(key, f"must be {expected}, not {kind_of(value)}")
        return None

    def _inner(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key


def jsonable(value: Any) -> Any:
    """Copy a value of a document with its dates as ISO text, since JSON has none."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def kind_of(value: Any) -> str:
    """Name what a value is, for messages."""
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else _KINDS.get(type(value), f"a {type(value).__name__}")

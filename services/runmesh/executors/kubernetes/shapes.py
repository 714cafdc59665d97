"""Reading what a user writes of a Kubernetes object: any spelling of its fields, in the forms that people use.

`read` returns the object as the API takes it: field names in camelCase, text and numbers as such. What is no field, or
not what the field holds, is left as it is and returned as a `Flaw`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from runmesh.errors import nearest
from runmesh.executors.kubernetes.fields import TYPES, Field, plain
from runmesh.executors.kubernetes.quantities import quantity

UNKNOWN: Final = "unknown key"
Path: TypeAlias = tuple[str | int, ...]


class Flaw(NamedTuple):
    """One thing that is wrong, and where inside the object."""

    path: Path
    message: str
    hint: str | None
    value: Any


def read(kind: str, value: Any) -> tuple[Any, tuple[Flaw, ...]]:
    """Return an object of a type (see `fields`) as the API takes it, and all that is wrong with it."""
    reader = _Reader()
    return reader.object(kind, value, ()), tuple(reader.flaws)


@dataclass(slots=True)
class _Reader:
    flaws: list[Flaw] = field(default_factory=list)

    def object(self, kind: str, value: Any, path: Path) -> Any:
        value = _FORMS.get(kind, _as_it_is)(value)
        if not isinstance(value, Mapping):
            return self._flaw(path, "should be a mapping", value)
        fields, found = TYPES[kind], {}
        for key, inner in value.items():
            known = fields.get(plain(str(key)))
            if known is None:
                hint = nearest(key, (each.name for each in fields.values()))
                found[key] = self._flaw((*path, key), f"{UNKNOWN} {key!r}", inner, hint)
            else:
                found[known.name] = None if inner is None else self._field(known, inner, (*path, known.name))
        return found

    def _field(self, known: Field, value: Any, path: Path) -> Any:
        match known.many:
            case "[]":
                items = [value] if known.type == _REFERENCE and isinstance(value, str | Mapping) else value
                if not isinstance(items, list | tuple):
                    return self._flaw(path, "should be a list", value)
                return [self._one(known, item, (*path, index)) for index, item in enumerate(items)]
            case "{}":
                if not isinstance(value, Mapping):
                    return self._flaw(path, "should be a mapping", value)
                return {
                    str(key): None if item is None else self._one(known, item, (*path, str(key)))
                    for key, item in value.items()
                }
        return self._one(known, value, path)

    def _one(self, known: Field, value: Any, path: Path) -> Any:
        if known.type:
            return self.object(known.type, value, path)
        if known.mark == "*":
            return value
        if isinstance(value, Mapping | list | tuple):
            return self._flaw(path, "should be one value", value)
        return self._scalar(known.mark, value, path)

    def _scalar(self, mark: str, value: Any, path: Path) -> Any:
        convert, message, hint = _SCALARS[mark]
        found = convert(value)
        return self._flaw(path, message, value, hint) if found is None else found

    def _flaw(self, path: Path, message: str, value: Any, hint: str | None = None) -> Any:
        self.flaws.append(Flaw(path, message, hint, value))
        return value


# --- scalars: None is for what they can't be ----------------------------------------------------------

_LONGEST_NUMBER: Final = 20


def _amount(value: Any) -> Any:
    amount = quantity(value)
    return None if amount is None or amount < 0 else value


def _number(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case str() if len(value) <= _LONGEST_NUMBER and value.isascii() and value.removeprefix("-").isdigit():
            return int(value)
    return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())


def _text(value: Any) -> str:
    """Return what YAML took for a number or a flag as text: the API takes no other values in labels and variables."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_SCALARS: Final[Mapping[str, tuple[Callable[[Any], Any], str, str | None]]] = {
    "": (_text, "", None),
    "#": (_number, "should be a whole number", None),
    "?": (_flag, "should be true or false", None),
    "%": (_amount, "should be a quantity", "write a number, or 500m, 2, 1Gi as Kubernetes does"),
}


# --- forms that the API doesn't have ------------------------------------------------------------------

_REFERENCE: Final = "LocalObjectReference"
_TERM: Final = "podaffinityterm"


def _as_it_is(value: Any) -> Any:
    return value


def _reference(value: Any) -> Any:
    """A secret is named by its name alone."""
    return {"name": value} if isinstance(value, str) else value


def _node_selector(value: Any) -> Any:
    """The terms of a node affinity without ``nodeSelectorTerms`` around them."""
    return {"nodeSelectorTerms": value} if isinstance(value, list) else value


def _weighted_term(value: Any) -> Any:
    """A preferred term of a pod affinity as Mage reads it: with its weight beside what it says."""
    if not isinstance(value, Mapping) or any(plain(str(key)) == _TERM for key in value):
        return value
    inner = {key: item for key, item in value.items() if key != "weight"}
    return {"weight": value.get("weight", 1), "podAffinityTerm": inner}


def _term(value: Any) -> Any:
    """A required term of a pod affinity as Mage reads it: with a weight, which means nothing here."""
    if not isinstance(value, Mapping):
        return value
    inner = next((item for key, item in value.items() if plain(str(key)) == _TERM), value)
    return {key: item for key, item in inner.items() if key != "weight"} if isinstance(inner, Mapping) else value


_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    _REFERENCE: _reference,
    "NodeSelector": _node_selector,
    "WeightedPodAffinityTerm": _weighted_term,
    "PodAffinityTerm": _term,
}

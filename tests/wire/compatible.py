"""Whether one JSON Schema may follow another within a major version. Pure; it knows what pydantic writes.

What is *asked* (requests, configuration) comes from outside: all that was accepted must be, and mean the same. What is
*told* (facts, commands to workers, records) is besides read by services that are a version older: what is said now
they must accept, too, only unknown fields they ignore. So a new optional field is fine everywhere; a new word of an
enumeration is fine where it is asked, and takes a new major version where it is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

Schema = Mapping[str, Any]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_WORDS: Final = ("title", "description", "examples", "$schema", "$id", "$defs", "discriminator")
_COMPARED: Final = frozenset(
    {"type", "enum", "const", "default", "anyOf", "oneOf", "properties", "required", "additionalProperties"}
    | {"propertyNames", "items", "prefixItems", *_LOWER, *_UPPER, *_WORDS}
)
"""What is known to narrow or not. Of anything else (`pattern`, `allOf`, …) every change is one too many."""
_NOTHING: Final[Schema] = {}
_NAMES: Final[Schema] = {"type": "string"}


def breaks(then: Schema, now: Schema, *, told: bool) -> list[str]:
    """List all in which a schema breaks its predecessor, one line each; nothing, if it may follow it."""
    found = list(_Step(then, now).narrowed())
    if told:
        found += [f"older readers: {each}" for each in _Step(now, then, backwards=True).narrowed()]
    return found


@dataclass(frozen=True)
class _Step:
    """From the documents of one schema to the readers of another."""

    written: Schema
    read: Schema
    backwards: bool = False
    """The readers are the older ones: they ignore the fields and defaults that are new."""
    _begun: set[tuple[str, str]] = field(default_factory=set)

    def narrowed(self) -> Iterator[str]:
        """Yield why something that is written can't be read."""
        return self._narrowed(self.written, self.read, "")

    def _narrowed(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        references = (str(old.get("$ref")), str(new.get("$ref")))
        if references in self._begun:
            return
        if "$ref" in old and "$ref" in new:
            self._begun.add(references)
        yield from self._default(old, new, path)
        old, new = _resolved(old, self.written), _resolved(new, self.read)
        olds, news = _branches(old), _branches(new)
        for branch in olds:
            if len(news) == 1:
                yield from self._one(branch, news[0], path)
            elif all(any(self._fresh(branch, each)) for each in news):
                yield f"{path or 'all'}: {_shown(branch)} is refused"

    def _fresh(self, old: Schema, new: Schema) -> Iterator[str]:
        return _Step(self.written, self.read, self.backwards)._narrowed(old, new, "")  # noqa: SLF001 - one of our own

    def _default(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        if not self.backwards and "default" in old and old["default"] != new.get("default"):
            yield f"{path}: the default was {old['default']!r}"

    def _one(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        old, new = _resolved(old, self.written), _resolved(new, self.read)
        if "anyOf" in old or "anyOf" in new:
            yield from self._narrowed(old, new, path)
            return
        if not _types(old) <= _types(new):
            yield f"{path or 'all'}: {_shown(old)} is refused, {_shown(new)} is wanted"
            return
        yield from chain(
            _words(old, new, path), _bounds(old, new, path), self._object(old, new, path), self._array(old, new, path)
        )

    def _object(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("properties", _NOTHING), new.get("properties", _NOTHING)
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield f"{path}.{name}: is required"
        for name, schema in before.items():
            if name in after:
                yield from self._narrowed(schema, after[name], f"{path}.{name}")
            elif not self.backwards or new.get("additionalProperties") is False:
                yield f"{path}.{name}: is not known"
        if "propertyNames" in new:
            yield from self._narrowed(old.get("propertyNames", _NAMES), new["propertyNames"], f"{path}.?")
        yield from self._others(old, new, path)

    def _others(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        written, read = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if read is True or written is False:
            return
        if read is False:
            yield f"{path or 'all'}: unknown fields are refused"
        else:
            yield from self._narrowed(_NOTHING if written is True else written, read, f"{path}.*")

    def _array(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
        for index, (was, now) in enumerate(zip(before, after, strict=False)):  # how many there are, the bounds say
            yield from self._narrowed(was, now, f"{path}[{index}]")
        if "items" in new:
            yield from self._narrowed(old.get("items", _NOTHING), new["items"], f"{path}[]")


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _branches(schema: Schema) -> list[Schema]:
    return schema.get("anyOf") or schema.get("oneOf") or [schema]


def _types(schema: Schema) -> frozenset[str]:
    """Return the types that a schema accepts; an integer is a number, too."""
    everything = {"null", "boolean", "object", "array", "number", "integer", "string"}
    said = schema.get("type", everything)
    types = {said} if isinstance(said, str) else set(said)
    return frozenset(types | ({"integer"} if "number" in types else set()))


def _words(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = _enumerated(old), _enumerated(new)
    if after is None:
        return
    if before is None:
        yield f"{path}: only {after} are accepted"
    elif refused := [word for word in before if word not in after]:
        yield f"{path}: {', '.join(map(repr, refused))} is refused"


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in (name for name in (*_LOWER, *_UPPER) if name in new):
        tighter = name not in old or (new[name] > old[name] if name in _LOWER else new[name] < old[name])
        if tighter:
            yield f"{path}: {name} is {new[name]!r}, was {old.get(name)!r}"
    for name in (name for name in new if name not in _COMPARED and new[name] != old.get(name)):
        yield f"{path}: {name} is {new[name]!r}, was {old.get(name)!r}"


def _shown(schema: Schema) -> str:
    return str(_enumerated(schema) or schema.get("type") or schema.get("$ref") or "anything")

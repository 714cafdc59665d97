"""Reading YAML that a stranger wrote: bounded in size, depth and expansion, plain data only.

Values are built straight from the parser's events, so every bound is checked before anything is built, and every
problem knows its line. Where this differs from `yaml.safe_load`, which Mage uses: custom tags, duplicate keys and
aliases that explode are refused, and the keys of mappings are always text (`ON: 1` has the key `ON`, not `True`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, ScalarEvent, SequenceStartEvent

from runmesh.errors import Invalid, Problem

DEEPEST: Final = 64
"""Collections inside collections, with aliases written out."""
LARGEST: Final = 1_000_000
"""Characters of a document."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = yaml.constructor.SafeConstructor()
_CONSTRUCT: Final[dict[str | None, Any]] = {
    f"{_CORE}null": _SCALARS.construct_yaml_null,
    f"{_CORE}bool": _SCALARS.construct_yaml_bool,
    f"{_CORE}int": _SCALARS.construct_yaml_int,
    f"{_CORE}float": _SCALARS.construct_yaml_float,
    f"{_CORE}timestamp": _SCALARS.construct_yaml_timestamp,
}
_PLAIN_TAGS: Final = {None, "!", f"{_CORE}str", f"{_CORE}seq", f"{_CORE}map", *_CONSTRUCT}
# No number or date is longer, and a longer one takes quadratic time to read.
_LONGEST_NUMBER: Final = 100
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


def parse(text: str, where: str, largest: int = LARGEST) -> Any:
    """Read one YAML document (None if it is empty); raises `Invalid`, its path being `where:line`."""
    if len(text) > largest:
        raise Invalid(Problem(where, f"is larger than {largest:,} characters"))
    return _Builder(_events(text, where), where, heaviest=2 * largest).document()


def _events(text: str, where: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise Invalid(Problem(f"{where}{line}", f"is no YAML: {reason}")) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise Invalid(Problem(where, f"is no YAML: {str(error).splitlines()[0]}")) from None


class _Anchored(NamedTuple):
    value: Any
    weight: int
    height: int


class _Builder:
    """Builds one document. `_node` and what it calls return a value and its height, the levels below it."""

    def __init__(self, events: Iterator[Any], where: str, heaviest: int) -> None:
        self._events, self._where, self._heaviest = events, where, heaviest
        self._weight = 0
        self._anchors: dict[str, _Anchored] = {}

    def document(self) -> Any:
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value, _ = self._node(next(self._events), 0)
        next(self._events)  # the document ends
        if isinstance(more := next(self._events), yaml.DocumentStartEvent):
            self._refuse(more, "a second document starts here")
        return value

    def _node(self, event: Any, depth: int) -> tuple[Any, int]:
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        if depth > DEEPEST:
            self._refuse(event, f"nested deeper than {DEEPEST} levels")
        if event.tag not in _PLAIN_TAGS:
            self._refuse(event, f"the tag {event.tag} is not allowed")
        before = self._weight
        value, height = self._value(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, self._weight - before, height)
        return value, height

    def _alias(self, event: Any, depth: int) -> tuple[Any, int]:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            self._refuse(event, f"the alias *{event.anchor} has no anchor before it")
        if depth + anchored.height > DEEPEST:
            self._refuse(event, f"nested deeper than {DEEPEST} levels")
        self._weigh(event, anchored.weight)
        return anchored.value, anchored.height

    def _value(self, event: Any, depth: int) -> tuple[Any, int]:
        if isinstance(event, ScalarEvent):
            return self._scalar(event), 0
        self._weigh(event, 1)
        return self._sequence(depth) if isinstance(event, SequenceStartEvent) else self._mapping(depth)

    def _sequence(self, depth: int) -> tuple[list[Any], int]:
        items, height = [], 0
        while not isinstance(event := next(self._events), CollectionEndEvent):
            item, below = self._node(event, depth + 1)
            items.append(item)
            height = max(height, below + 1)
        return items, height

    def _mapping(self, depth: int) -> tuple[dict[str, Any], int]:
        own: dict[str, Any] = {}
        merged: list[Mapping[str, Any]] = []
        height = 0
        while not isinstance(event := next(self._events), CollectionEndEvent):
            key = self._key(event)
            value, below = self._node(next(self._events), depth + 1)
            height = max(height, below + 1)
            if key == "<<" and event.implicit[0]:
                merged += self._merged(event, value)
            elif key in own:
                self._refuse(event, f"the key {key[:100]!r} is there twice")
            else:
                own[key] = value
        for source in merged:
            own = {**source, **own}
        return own, height

    def _key(self, event: Any) -> str:
        if not isinstance(event, ScalarEvent) or event.tag not in _PLAIN_TAGS or event.anchor:
            self._refuse(event, "a key must be plain text")
        return self._text(event)

    def _merged(self, event: Any, value: Any) -> list[Mapping[str, Any]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._refuse(event, "only mappings can be merged with <<")
        return sources

    def _scalar(self, event: Any) -> Any:
        text = self._text(event)
        construct = _CONSTRUCT.get(event.tag or _implied(event, text))
        if construct is None:
            return text
        try:
            return construct(yaml.ScalarNode(event.tag, text))
        except (ValueError, LookupError, AttributeError, OverflowError):
            self._refuse(event, f"{text[:100]!r} has no valid value")

    def _text(self, event: Any) -> str:
        text: str = event.value
        self._weigh(event, 1 + len(text))
        if _UNFIT.search(text):
            self._refuse(event, "text holds NUL or half a character")
        return text

    def _weigh(self, event: Any, amount: int) -> None:
        self._weight += amount
        if self._weight > self._heaviest:
            self._refuse(event, f"larger than {self._heaviest:,} characters once its aliases are written out")

    def _refuse(self, event: Any, message: str) -> NoReturn:
        raise Invalid(Problem(f"{self._where}:{event.start_mark.line + 1}", message))


def _implied(event: Any, text: str) -> str | None:
    """The tag of a scalar by its looks, as YAML 1.1 has it; None for text."""
    if not event.implicit[0] or len(text) > _LONGEST_NUMBER:
        return None
    for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ()):
        if pattern.match(text):
            return str(tag)
    return None

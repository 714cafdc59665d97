"""On which line of a document a value stands: for people who mend it. Nothing that runs a pipeline needs this.

A path is what problems call a place: keys and indexes, such as `blocks[2].executor_config.namespace`. An item of a list
may go by its uuid as well, and a colon does as a dot: `blocks.load: retry_config: delay`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import yaml

from runmesh.errors import Invalid
from runmesh.projects import yaml_text

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TOP_KEY: Final = re.compile(r"""^(["']?)([^\s#:"'{}-][^:"']*)\1\s*:(?:\s|$)""", re.MULTILINE)


class Found(NamedTuple):
    """How far a path could be followed."""

    line: int
    """Counted from 1; of what was found last."""
    rest: str
    """What is left of the path; nothing, if all of it is there."""


class _Spot(NamedTuple):
    line: int
    node: yaml.Node | None


class Lines:
    """The lines of one document. Where its text is no YAML, only the keys of its top level are known."""

    def __init__(self, text: str) -> None:
        self._root = _composed(text)
        self._top = {} if self._root else _top_keys(text)
        self._known: dict[int, Mapping[str, _Spot]] = {}

    def find(self, path: str) -> Found:
        """Follow a path as far as the document has it."""
        line, inside = 1, self._top if self._root is None else self._inside(self._root)
        while step := _longest(path, inside):
            line, node = inside[step]
            path = path[len(step) :].lstrip(".: ")
            inside = self._inside(node) if node else {}
        return Found(line, path)

    def _inside(self, node: yaml.Node) -> Mapping[str, _Spot]:
        if id(node) not in self._known:
            self._known[id(node)] = dict(_children(node))
        return self._known[id(node)]


def lines_of_template(written: str, rendered: str) -> Lines:
    """Return the lines of a template's text as it is written, by the paths of what it renders to."""
    return Lines(rendered if kept_lines(written, rendered) else written)


def kept_lines(written: str, rendered: str) -> bool:
    """Say whether a line of what a template renders to is the same line of its text."""
    return written.count("\n") == rendered.count("\n")


def _longest(path: str, names: Mapping[str, _Spot]) -> str | None:
    """Return the longest beginning of a path that is a name: a name may hold dots and colons itself."""
    ends = [len(path), *(index for index in range(len(path) - 1, 0, -1) if path[index] in ".:[")]
    return next((path[:end] for end in ends if path[:end] in names), None)


def _composed(text: str) -> yaml.Node | None:
    try:
        # Its bounds hold for what comes after: yaml.compose has none, and would recurse without end.
        yaml_text.parse(text, "", len(text))
        root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except (Invalid, yaml.YAMLError):
        return None
    return root


def _children(node: yaml.Node) -> Iterator[tuple[str, _Spot]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), _Spot(key.start_mark.line + 1, value)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            spot = _Spot(item.start_mark.line + 1, item)
            yield f"[{index}]", spot
            yield str(index), spot
        yield from ((uuid, _Spot(item.start_mark.line + 1, item)) for item in node.value if (uuid := _uuid(item)))


def _uuid(node: yaml.Node) -> str:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((str(value.value) for key, value in pairs if key.value == "uuid"), "")


def _top_keys(text: str) -> dict[str, _Spot]:
    found: dict[str, _Spot] = {}
    for match in _TOP_KEY.finditer(text):
        found.setdefault(match[2].rstrip(), _Spot(text.count("\n", 0, match.start()) + 1, None))
    return found

"""A pipeline's document from a file, for requests that bring their own."""

import sys
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from runmesh.errors import Invalid, Problem
from runmesh.projects import files, yaml_text

_STDIN: Final = Path("-")
_LARGEST: Final = 4_000_000


def read_pipeline_file(path: Path) -> dict[str, Any]:
    """Read a document in YAML or JSON, from standard input where the path is `-`. Raises `Invalid`."""
    where = str(path)
    text = sys.stdin.read() if path == _STDIN else files.read(path, where, _LARGEST)
    document = _json(text) or yaml_text.parse(text, where, _LARGEST)
    if not isinstance(document, dict):
        raise Invalid(Problem(where, "must be a mapping of keys to values"))
    return document


def _json(text: str) -> Any:
    """Read JSON, which not every YAML parser takes; None for what is none."""
    try:
        return from_json(text)
    except ValueError:
        return None

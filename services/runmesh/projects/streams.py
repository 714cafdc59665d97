"""The streams of an integration pipeline: what is taken from its source, and where each of them goes.

A catalog lists them: the one in the source block's own file, else that of `data_integration_catalog.json` beside the
pipeline's document, else the document's `data_integration`; the first that there is, as in Mage.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import files, yaml_text
from runmesh.projects.fields import Fields, Problems
from runmesh.projects.model import Block, Pipeline, Project

CATALOG: Final = "data_integration_catalog.json"
MOST: Final = 1_000
_LARGEST: Final = 16_000_000
"""Bytes of a catalog: schemas of many tables."""


class Stream(NamedTuple):
    """One stream (a table, say): its name at the source, and what it is called at the destination."""

    name: str
    table: str
    in_parallel: bool = False
    """It doesn't wait for the streams before it."""


def source_of(pipeline: Pipeline) -> Block | None:
    """Return the block that reads the source."""
    return next((block for block in pipeline.blocks.values() if block.type == "data_loader"), None)


def streams_of(project: Project, pipeline: Pipeline) -> tuple[Stream, ...]:
    """Return the streams in the catalog's order; raises `Invalid` for a catalog that is wrong, or lists none."""
    folder = f"pipelines/{pipeline.uuid}"
    source = _source(project, pipeline)
    beside = files.inside(project.path, f"{folder}/{CATALOG}", where=CATALOG)
    if source.get("catalog"):
        where, document = "source", source
    elif beside.is_file():
        where = f"{folder}/{CATALOG}"
        document = _json(files.read(beside, where, _LARGEST), where)
    else:
        where, document = f"{folder}/{files.METADATA}: data_integration", pipeline.data_integration
    problems = Problems(where)
    if _is_patterned(source):
        problems.add("", "the source names its tables by a pattern (`_patterns`), which only Mage's scheduler reads")
    found = _streams(Fields(document, problems).inside("catalog"))
    problems.raise_any()
    if not 0 < len(found) <= MOST:
        message = f"lists {len(found):,} streams, and an integration pipeline has 1 to {MOST:,}"
        raise Invalid(Problem(f"{where}: catalog", message))
    return tuple(found.values())


def _streams(catalog: Fields) -> Mapping[str, Stream]:
    found: dict[str, Stream] = {}
    for fields in catalog.each("streams"):
        name = _plain(fields, "tap_stream_id") or ""
        if name in found:
            fields.problem("tap_stream_id", f"{name[:200]!r} is the name of another stream, too")
        found[name] = Stream(name, _plain(fields, "destination_table") or name, bool(fields.raw("run_in_parallel")))
    return found


def _plain(fields: Fields, key: str) -> str | None:
    """Read a name; Mage's scheduler renders the catalog, we don't."""
    text = fields.name(key) if key == "tap_stream_id" else fields.text(key)
    if text and ("{{" in text or "{%" in text):
        fields.problem(key, f"{text[:200]!r} is a template, which only Mage's scheduler renders")
    return text


def _source(project: Project, pipeline: Pipeline) -> Mapping[str, Any]:
    """Return what the source block's file says; Mage, too, reads it as it is for this."""
    block = source_of(pipeline)
    text = project.block_source(block) if block else None
    return _mapping(yaml_text.parse(text, "source"), "source") if text else {}


def _is_patterned(source: Mapping[str, Any]) -> bool:
    config = source.get("config")
    patterns = config.get("_patterns") if isinstance(config, dict) else None
    return isinstance(patterns, dict) and bool(patterns.get("destination_table"))


def _json(text: str, where: str) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text), where)
    except (ValueError, RecursionError) as error:
        raise Invalid(Problem(where, f"is no JSON: {error}")) from None


def _mapping(document: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise Invalid(Problem(where, "must be a mapping of keys to values"))
    return document

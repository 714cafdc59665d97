"""A project on disk for tests of the resolver, written from plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runmesh.resolver import explain
from runmesh.resolver.explanation import BlockExplanation, Explanation

Document = Mapping[str, Any]


class Shop:
    """A project called `shop` whose pipeline `orders` is rewritten for every question."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "shop"
        (self.path / "pipelines" / "orders").mkdir(parents=True)

    def ask(
        self,
        *blocks: Document,
        project: Document | None = None,
        request: Document | None = None,
        environment: Mapping[str, str] | None = None,
        **pipeline: Any,
    ) -> Explanation:
        """Explain a pipeline with these blocks; a block without a uuid is `load`, one without a type a data_loader."""
        filled = [{"uuid": "load", "type": "data_loader"} | dict(block) for block in blocks or ({},)]
        self._write("metadata.yaml", project or {})
        self._write("pipelines/orders/metadata.yaml", {"uuid": "orders", "blocks": filled, **pipeline})
        return explain(self.path, "orders", request=request, environment=environment or {})

    def load(self, block: Document | None = None, **rest: Any) -> BlockExplanation:
        """Explain one block, `load`."""
        return self.ask(block or {}, **rest).blocks["load"]

    def _write(self, name: str, document: Document) -> None:
        (self.path / name).write_text(yaml.safe_dump(dict(document)))


def said(found: BlockExplanation) -> dict[str, Any]:
    """Return what some level says of a block's configuration; the built-in defaults are left out."""
    document: dict[str, Any] = {}
    for path, level in found.provenance.items():
        if level != "default":
            *above, last = _steps(path, found.config)
            inside = document
            for key in above:
                inside = inside.setdefault(key, {})
            inside[last] = _at(found.config, [*above, last])
    return document


def levels(found: BlockExplanation) -> dict[str, str]:
    """Return the level of every value that some level says."""
    return {path: level for path, level in found.provenance.items() if level != "default"}


def _steps(path: str, config: Any) -> list[str]:
    """Split a dotted path into keys, which may have dots themselves."""
    steps: list[str] = []
    while path:
        key = next(key for key in sorted(config, key=len, reverse=True) if f"{path}.".startswith(f"{key}."))
        steps.append(key)
        config, path = config[key], path[len(key) + 1 :]
    return steps


def _at(config: Any, keys: list[str]) -> Any:
    for key in keys:
        config = config[key]
    return config

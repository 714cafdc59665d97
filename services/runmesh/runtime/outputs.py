"""A pipeline's variables: where they are, and the outputs of its blocks, in Mage's layout.

``<variables>/pipelines/<pipeline>/.variables/<execution partition>/<block>/output_<n>/``, those of a dynamic child in
``<block>/<index>/output_<n>/``. Names become directories as Mage cleans them, so none leaves its place. Outputs are
replaced as a whole: a retry after a crash finds the former ones, or none, never some.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from runmesh.errors import Invalid, Problem, UnsafePath
from runmesh.projects import Block
from runmesh.runtime.failed import Failed
from runmesh.runtime.places import place
from runmesh.runtime.values import Unreadable, load, store

MOST_OUTPUTS: Final = 100
"""A list of more items than this is stored as one output, which reads as the same list, instead of as so many."""
_EMPTY: Final = ".empty"
_LONGEST_NAME: Final = 200
"""Bytes: file systems take 255, and a directory that is being written has a longer name."""
_MOSTLY_WITHOUT: Final = frozenset({"data_exporter", "sensor"})
"""The types of blocks that seldom have outputs."""


class Outputs:
    """The outputs of the blocks of one pipeline, in one execution partition; `index` is that of a dynamic child."""

    def __init__(self, variables: str, pipeline: str, partition: str | None) -> None:
        parts = [variables, "pipelines", pipeline, ".variables", *([partition] if partition else [])]
        for name in (pipeline, partition or ""):
            if unsafe_path(name):
                raise UnsafePath(Problem("variables", f"{name[:200]!r} would leave {variables}"))
        self._directory = "/".join(parts)
        self._place = place(variables)

    def write(self, block: Block, values: Sequence[Any], index: int | None = None) -> list[dict[str, Any]]:
        """Replace a block's outputs and describe them; raises `Failed` naming what can't be stored."""
        kept = [list(values)] if len(values) > MOST_OUTPUTS else values
        try:
            with self._place.publishing(self._target(block, index), self._directory) as staged:
                if not kept:
                    (staged / _EMPTY).touch()
                return [_store(block, number, value, staged) for number, value in enumerate(kept)]
        except OSError as error:
            where = self._target(block, index)
            raise Failed(f"block {block.uuid!r}: its outputs can't be stored in {where}: {error}") from None

    def values(self, block: Block, index: int | None = None) -> list[Any]:
        """Return all outputs of a block.

        Raises `Invalid` if the outputs are missing, or can't be read; `Failed` if their place doesn't answer.
        """
        with self._fetching(block, index) as (target, directory):
            return _values(block, target, directory)

    def children(self, block: Block, count: int) -> list[list[Any]]:
        """Return all outputs of each of a block's children; raises as `values`."""
        with self._fetching(block, None) as (target, directory):
            found = [(f"{target}/{index}", directory and directory / str(index)) for index in range(count)]
            return [_values(block, path, child if child and child.is_dir() else None) for path, child in found]

    def read(self, block: Block) -> Any:
        """Return what a block below gets from this one; raises as `values`."""
        return single(self.values(block))

    @contextmanager
    def _fetching(self, block: Block, index: int | None) -> Iterator[tuple[str, Path | None]]:
        target, where = self._target(block, index), f"upstream block {block.uuid}"
        try:
            with self._place.fetching(target) as directory:
                yield target, directory
        except Unreadable as error:
            raise Invalid(Problem(where, str(error))) from error
        except OSError as error:
            raise Failed(f"{where}: {target} can't be read: {error}") from None

    def _target(self, block: Block, index: int | None) -> str:
        target = f"{self._directory}/{clean_name(block.uuid)}"
        return target if index is None else f"{target}/{index}"


def single(values: list[Any]) -> Any:
    """Return what a block below gets of these outputs: the value of a single one, else the list of all."""
    return values[0] if len(values) == 1 else values


def clean_name(name: str) -> str:
    """Return the name of a block's directory, as Mage makes it; raises `UnsafePath` if that is no usable name."""
    cleaned = re.sub(r"\W", "_", re.sub('[\ufeff"$\n\r\t]', "", name)).lower()
    if not 0 < len(cleaned.encode()) <= _LONGEST_NAME:
        raise UnsafePath(Problem("block", f"{name[:200]!r} can't name a directory for its outputs"))
    return f"letter_{cleaned}" if cleaned[0].isdecimal() else cleaned


def unsafe_path(name: str) -> bool:
    """Say whether this leads out of the directory it is put below."""
    return name.startswith("/") or "\\" in name or "\0" in name or not {".", ".."}.isdisjoint(name.split("/"))


def _store(block: Block, number: int, value: Any, directory: Path) -> dict[str, Any]:
    path = directory / f"output_{number}"
    path.mkdir()
    try:
        return store(value, path)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - pickle raises anything
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise Failed(f"block {block.uuid!r}: output_{number} ({kind}) can't be stored: {error}") from None


def _values(block: Block, target: str, directory: Path | None) -> list[Any]:
    if directory is None and not _may_store_nothing(block):
        hint = "did it run, with the same variables directory and execution partition?"
        raise Invalid(Problem(f"upstream block {block.uuid}", f"it has no outputs at {target}", hint))
    return [load(path) for path in _numbered(directory)] if directory else []


def _may_store_nothing(block: Block) -> bool:
    """Say whether a block that ran may have left no directory: Mage leaves none where there are no outputs."""
    return block.type in _MOSTLY_WITHOUT or (block.executor_config or {}).get("runtime") == "mage"


def _numbered(directory: Path) -> list[Path]:
    numbers = [int(match[1]) for path in directory.iterdir() if (match := re.fullmatch(r"output_(\d+)", path.name))]
    return [directory / f"output_{number}" for number in sorted(numbers)]

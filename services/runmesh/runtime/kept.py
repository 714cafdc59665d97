"""Outputs that blocks of one process hand on in memory, beside what is stored or instead of it."""

from collections.abc import Sequence
from typing import Any

from runmesh.projects import Block
from runmesh.runtime.outputs import Outputs
from runmesh.runtime.values import describe


class Kept:
    """Reads and writes as `Outputs` does.

    With `everything` (Mage's `cache_block_output_in_memory`) nothing is stored. Else only a dynamic block's outputs are
    kept, too: reading them once for each of ten thousand children takes minutes.
    """

    def __init__(self, outputs: "Outputs | Kept", *, everything: bool) -> None:
        self._outputs, self._everything = outputs, everything
        self._kept: dict[tuple[str, int | None], list[Any]] = {}

    def write(self, block: Block, values: Sequence[Any], index: int | None = None) -> list[dict[str, Any]]:
        """Keep or store a block's outputs and describe them."""
        if self._everything or block.configuration.get("dynamic"):
            self._kept[block.uuid, index] = list(values)
        return [describe(value) for value in values] if self._everything else self._outputs.write(block, values, index)

    def values(self, block: Block, index: int | None = None) -> list[Any]:
        """Return all outputs of a block."""
        kept = self._kept.get((block.uuid, index))
        return self._outputs.values(block, index) if kept is None else list(kept)

    def children(self, block: Block, count: int) -> list[list[Any]]:
        """Return all outputs of each child."""
        if not self._everything:
            return self._outputs.children(block, count)
        return [self.values(block, index) for index in range(count)]

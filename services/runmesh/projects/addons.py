"""What is attached to a block besides its own code: conditionals before it, callbacks after it."""

from collections.abc import Iterator
from typing import Final

from runmesh.errors import Invalid
from runmesh.projects.model import Block, Pipeline, Project

STATUSES: Final = ("failure", "cancelled")
"""Those of Mage's callbacks that a job which is gone can't run itself."""


def conditions_of(pipeline: Pipeline, block: Block) -> Iterator[Block]:
    """Yield the conditional blocks that name this one."""
    return (addon for addon in pipeline.conditionals.values() if block.uuid in addon.upstream_blocks)


def callbacks_of(pipeline: Pipeline, block: Block) -> Iterator[Block]:
    """Yield the callback blocks of this one: its own (`has_callback`), then those that name it."""
    own = f"{block.uuid}_callback"
    if block.has_callback:
        yield Block(own, "callback")
    for addon in pipeline.callbacks.values():
        if block.uuid in addon.upstream_blocks and not (block.has_callback and addon.uuid == own):
            yield addon


def statuses_of(project: Project, pipeline: Pipeline, block: Block) -> tuple[str, ...]:
    """Return for which of `STATUSES` a block may have callbacks: their sources name the status, wherever."""
    sources = [_source(project, callback) for callback in callbacks_of(pipeline, block)]
    return tuple(status for status in STATUSES if any(status in source for source in sources))


def _source(project: Project, callback: Block) -> str:
    try:
        return project.block_source(callback) or ""
    except Invalid:  # told where the callback itself is read
        return ""

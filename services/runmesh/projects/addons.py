"""What is attached to a block besides its own code: conditionals before it, callbacks after it."""

from collections.abc import Iterator

from runmesh.projects.model import Block, Pipeline


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

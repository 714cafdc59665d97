"""From a block to its executed source. A source is executed once in a process, whoever runs it how often."""

import os
from _thread import LockType, allocate_lock

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block, Pipeline, Project
from runmesh.runtime.code import Code, Source, kind_of
from runmesh.runtime.outputs import clean_name


class Sources:
    """The sources of one pipeline's blocks, callbacks and conditionals."""

    def __init__(self, project: Project, pipeline: Pipeline) -> None:
        self._project, self._pipeline = project, pipeline
        self._executed: dict[tuple[str, str], Code] = {}
        self._locks: dict[tuple[str, str], LockType] = {}

    def code(self, block: Block) -> Code:
        """Return a block's executed source; raises `Invalid` if its file is missing, `Failed` for what it raises."""
        key = block.type, block.uuid
        with self._locks.setdefault(key, allocate_lock()):
            if key not in self._executed:
                self._executed[key] = Code(self._source(block))
            return self._executed[key]

    def is_missing(self, block: Block) -> bool:
        """Say whether there is neither a file nor an embedded source."""
        return block.content is None and self._project.block_file(block) is None

    def _source(self, block: Block) -> Source:
        project = self._project
        text, path = project.block_source(block), project.block_file(block)
        if text is None:
            where = f"{kind_of(block.type)} {block.uuid}"
            raise Invalid(Problem(where, f"there is no file {project.block_path(block)}"))
        if path is None:
            name = f"{project.name}.{block.type}s.{clean_name(block.uuid)}"
            return Source(block.uuid, block.type, text, f"<{self._pipeline.uuid}/{block.uuid}>", name)
        below = os.path.splitext(os.path.relpath(path, project.path))[0]  # noqa: PTH122
        return Source(block.uuid, block.type, text, str(path), f"{project.name}.{below.replace('/', '.')}")

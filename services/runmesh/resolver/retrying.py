"""How often each block of a pipeline is tried again: block over pipeline over project, key by key.

In one process the block's own rules hold for the block, and the others for the process, so that tries don't multiply.
"""

from runmesh.errors import Invalid, Problem
from runmesh.projects import Block, Pipeline, Project, RetryPolicy


class Retries:
    """The rules of one pipeline; what its blocks share is merged once."""

    def __init__(self, project: Project, pipeline: Pipeline, file: str, *, whole: bool) -> None:
        levels = (project.retry_config, pipeline.retry_config)
        common = RetryPolicy()
        self.errors: tuple[Problem, ...] = ()
        """What is wrong with the levels that all blocks share; they don't count then."""
        try:
            RetryPolicy.of(project.retry_config, where="metadata.yaml: retry_config")
            common = RetryPolicy.of(*levels, where=f"{file}: retry_config")
        except Invalid as error:
            self.errors = error.problems
        self.whole = RetryPolicy() if pipeline.type == "streaming" else common
        """Of a pipeline that runs in one process; Mage tries one that streams again itself."""
        self._unsaid = RetryPolicy() if whole else common
        """Of a block that says nothing itself."""
        self._above = () if whole or self.errors else levels

    def of(self, block: Block, errors: list[Problem]) -> RetryPolicy:
        """Return the rules of one block, and add what is wrong with its own to `errors`."""
        if not block.retry_config:
            return self._unsaid
        try:
            return RetryPolicy.of(*self._above, block.retry_config, where=f"block {block.uuid}: retry_config")
        except Invalid as error:
            errors += error.problems
            return self._unsaid

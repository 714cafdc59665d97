"""What a Mage project says, as typed values: project, pipeline, block.

Nothing here is rendered or decided: an `executor_type` is the text that the document holds. The keys are those that
Mage reads, the defaults are Mage's. Keys that Mage doesn't know are kept in `extra` and reported in a pipeline's
`warnings`, never as errors. Values are shared between readers, defaults too: don't change them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from runmesh.errors import Invalid, Problem
from runmesh.projects import files
from runmesh.projects.fields import kind_of
from runmesh.projects.templates import Templates

Config = Mapping[str, Any]
_EMPTY: Final[Config] = {}


class Block(NamedTuple):
    """One block as its pipeline's document describes it."""

    uuid: str
    type: str
    name: str = ""
    language: str = "python"
    executor_type: str | None = None
    """Raw: it may be a template."""
    executor_config: Config | None = None
    upstream_blocks: tuple[str, ...] = ()
    """In the order of the document, which is the order of the block function's arguments."""
    downstream_blocks: tuple[str, ...] = ()
    configuration: Config = _EMPTY
    """Handed to the block as it is: dates stay dates here."""
    retry_config: Config | None = None
    timeout: float | None = None
    """Seconds."""
    content: str | None = None
    """The source, where it is embedded in the document."""
    has_callback: bool = False
    replicated_block: str | None = None
    original: "Block | None" = None
    """The block that a replica replicates: its file is the replica's."""
    extension_uuid: str | None = None
    groups: tuple[str, ...] = ()
    color: str | None = None
    status: str | None = None
    all_upstream_blocks_executed: bool | None = None
    callback_blocks: tuple[str, ...] = ()
    conditional_blocks: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """Of a command block: its arguments, the first of which is the program."""
    image: str | None = None
    """Of a command block: what it runs in, on executors that run images."""
    environment: Mapping[str, str] = {}
    """Of a command block: its variables."""
    extra: Config = _EMPTY


class Pipeline(NamedTuple):
    """One pipeline as its document describes it; blocks are in the order of the document."""

    uuid: str
    name: str = ""
    description: str | None = None
    type: str = "python"
    blocks: Mapping[str, Block] = {}
    callbacks: Mapping[str, Block] = {}
    conditionals: Mapping[str, Block] = {}
    widgets: Mapping[str, Block] = {}
    extensions: Mapping[str, Mapping[str, Block]] = {}
    """By extension (`great_expectations`), then by block."""
    executor_type: str | None = None
    """Raw: it may be a template."""
    executor_config: Config = _EMPTY
    executor_count: int = 1
    run_pipeline_in_one_process: bool | None = None
    """None: the document doesn't say, and the environment decides."""
    cache_block_output_in_memory: bool = False
    concurrency_config: Config = _EMPTY
    retry_config: Config = _EMPTY
    notification_config: Config = _EMPTY
    variables: Config = _EMPTY
    """Handed to the blocks as they are: dates stay dates here."""
    settings: Config = _EMPTY
    spark_config: Config = _EMPTY
    data_integration: Config = _EMPTY
    execution_framework: str | None = None
    remote_variables_dir: str | None = None
    variables_dir: str | None = None
    tags: tuple[str, ...] = ()
    created_at: str | None = None
    extra: Config = _EMPTY
    warnings: tuple[Problem, ...] = ()


class Project(NamedTuple):
    """A folder with a `metadata.yaml`, rendered and checked."""

    name: str
    path: Path
    """Absolute, without symbolic links."""
    document: Config
    templates: Templates
    warnings: tuple[Problem, ...] = ()
    exists: bool = True
    """False for the project of a pipeline that needs no folder: there is none at `path`."""

    @property
    def executor_type(self) -> str | None:
        """Ours: Mage has no executor type at this level."""
        return self.document.get("executor_type")

    @property
    def runtime(self) -> str | None:
        """Ours: what runs inside the jobs, `native` or `mage`."""
        return self.document.get("runtime")

    @property
    def variables_dir(self) -> str | None:
        """Where outputs of blocks are stored."""
        return self.document.get("variables_dir")

    @property
    def remote_variables_dir(self) -> str | None:
        """Likewise, on s3:// or gs://: goes before `variables_dir`."""
        return self.document.get("remote_variables_dir")

    @property
    def spark_config(self) -> Config:
        """For pyspark: the Spark session."""
        return self._config("spark_config")

    @property
    def retry_config(self) -> Config:
        """Goes below that of each block."""
        return self._config("retry_config")

    @property
    def concurrency_config(self) -> Config:
        """Documented by Mage, though it does not read it here."""
        return self._config("concurrency_config")

    def block_path(self, block: Block) -> Path | None:
        """Say where the block's file belongs, whether it exists or not; None if its source is embedded.

        Raises `UnsafePath` for a file outside the project, `Invalid` for a path that is no text.
        """
        return None if block.content is not None else _path_of(block, self.path)

    def block_file(self, block: Block) -> Path | None:
        """Return the block's file, or None if its source is embedded or the file is missing; raises `UnsafePath`."""
        path = self.block_path(block)
        return path if path and path.is_file() else None

    def block_source(self, block: Block) -> str | None:
        """Return the block's source, embedded or from its file; None if there is none. Raises `Invalid` over 1 MB."""
        return _source_of(block, self.block_file(block))

    def pipeline_names(self) -> list[str]:
        """List the pipelines that have a document, sorted."""
        return files.folders_with_metadata(self.path / "pipelines")

    def _config(self, key: str) -> Config:
        return self.document.get(key) or {}


def _path_of(block: Block, project: Path) -> Path:
    """Locate a block's file as Mage does: the original's of a replica, the configured path, the folder of its type."""
    block = block.original or block
    where = f"block {block.uuid}"
    configured = _configured_path(block)
    if configured is not None:
        if not isinstance(configured, str):
            message = f"its file's path must be text, not {kind_of(configured)}"
            raise Invalid(Problem(f"{where}: configuration", message))
        return files.inside(project, configured, where=f"{where}: configuration")
    directory = files.inside(project, "custom" if block.type == "custom" else f"{block.type}s", where=where)
    return files.inside(directory, f"{block.uuid}.{files.EXTENSIONS[block.language]}", where=where)


def _source_of(block: Block, path: Path | None) -> str | None:
    """Return a block's source, embedded or read from its file; raises `Invalid` if it is too large or no text."""
    where = f"block {block.uuid}"
    if block.content is None:
        return files.read(path, where, files.LARGEST_SOURCE) if path else None
    if len(block.content) > files.LARGEST_SOURCE:
        raise Invalid(Problem(where, f"its content is larger than {files.LARGEST_SOURCE:,} characters"))
    return block.content


def _configured_path(block: Block) -> Any:
    source = block.configuration.get("file_source")
    nested = source.get("path") if isinstance(source, dict) else None
    return nested or block.configuration.get("file_path") or None

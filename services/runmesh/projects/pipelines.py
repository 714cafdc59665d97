"""From a pipeline's document to `Pipeline` and its blocks."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from runmesh.errors import nearest
from runmesh.projects.commands import COMMAND, is_command, read_command
from runmesh.projects.fields import Fields, Problems
from runmesh.projects.files import EXTENSIONS
from runmesh.projects.model import Block, Pipeline

PIPELINE_TYPES: Final = ("databricks", "execution_framework", "integration", "pyspark", "python", "streaming")
_DATA: Final = ("data_exporter", "data_loader", "dbt", "global_data_product", "sensor", "transformer")
_CONTROL: Final = ("callback", "conditional", "dynamic_child", "extension", "group", "hook", "pipeline")
BLOCK_TYPES: Final = ("chart", COMMAND, "custom", "markdown", "scratchpad", *_DATA, *_CONTROL)


def read_pipeline(document: Mapping[str, Any], where: str, name: str | None) -> Pipeline:
    """Read a pipeline's document, found under a name or (None) given inline; raises `Invalid` with all problems."""
    problems = Problems(where)
    pipeline = _pipeline(Fields(document, problems), name)
    problems.raise_any()
    return pipeline._replace(warnings=tuple(problems.warnings))


def _pipeline(fields: Fields, name: str | None) -> Pipeline:
    uuid = _uuid(fields, name)
    pipeline = Pipeline(
        uuid=uuid,
        name=fields.text("name") or uuid,
        description=fields.text("description"),
        type=fields.one_of("type", PIPELINE_TYPES, "python"),
        blocks=_blocks(fields, "blocks"),
        callbacks=_blocks(fields, "callbacks"),
        conditionals=_blocks(fields, "conditionals"),
        widgets=_blocks(fields, "widgets"),
        extensions={key: _extension(inner) for key, inner in fields.under("extensions")},
        executor_type=fields.text("executor_type"),
        executor_config=fields.config("executor_config"),
        executor_count=int(fields.number("executor_count") or 1),
        run_pipeline_in_one_process=fields.flag("run_pipeline_in_one_process"),
        cache_block_output_in_memory=fields.flag("cache_block_output_in_memory") or False,
        concurrency_config=fields.config("concurrency_config"),
        retry_config=fields.config("retry_config"),
        notification_config=fields.config("notification_config"),
        variables=fields.mapping("variables"),
        settings=fields.config("settings"),
        spark_config=fields.config("spark_config"),
        data_integration=fields.config("data_integration"),
        execution_framework=fields.text("execution_framework"),
        remote_variables_dir=fields.text("remote_variables_dir"),
        variables_dir=fields.text("variables_dir"),
        tags=fields.names("tags"),
        created_at=fields.text("created_at"),
        extra=fields.rest(),
    )
    _warn_about_downstream(fields, pipeline.blocks)
    return pipeline


def _uuid(fields: Fields, name: str | None) -> str:
    """Mage calls a pipeline by its folder, whatever its document says."""
    if name is None:
        return next((fields.name(key) for key in ("uuid", "name") if fields.has(key)), "inline")
    if fields.text("uuid") not in (None, name):
        fields.warn("uuid", f"is ignored: the pipeline is called {name!r}, as its folder")
    return name


def _extension(fields: Fields) -> dict[str, Block]:
    blocks = _blocks(fields, "blocks")
    fields.rest()
    return blocks


def _blocks(fields: Fields, key: str) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for inner in fields.each(key):
        block = _block(inner)
        if block.uuid in blocks:
            inner.problem("uuid", f"{block.uuid!r} is the uuid of another block, too")
        elif block.uuid:
            blocks[block.uuid] = block
    return {block.uuid: _with_original(block, blocks, fields) for block in blocks.values()}


def _block(fields: Fields) -> Block:
    return Block(
        uuid=fields.name("uuid"),
        name=fields.text("name") or fields.text("uuid") or "",
        **(read_command(fields) if is_command(fields) else {"type": fields.one_of("type", BLOCK_TYPES, None)}),
        language=fields.one_of("language", EXTENSIONS, "python"),
        executor_type=fields.text("executor_type"),
        executor_config=fields.config("executor_config") if fields.has("executor_config") else None,
        upstream_blocks=fields.names("upstream_blocks"),
        downstream_blocks=fields.names("downstream_blocks"),
        configuration=fields.mapping("configuration"),
        retry_config=fields.config("retry_config") if fields.has("retry_config") else None,
        timeout=fields.number("timeout"),
        content=fields.text("content"),
        has_callback=fields.flag("has_callback") or False,
        replicated_block=fields.text("replicated_block"),
        extension_uuid=fields.text("extension_uuid"),
        groups=fields.names("groups"),
        color=fields.text("color"),
        status=fields.text("status"),
        all_upstream_blocks_executed=fields.flag("all_upstream_blocks_executed"),
        callback_blocks=fields.names("callback_blocks"),
        conditional_blocks=fields.names("conditional_blocks"),
        extra=fields.rest(),
    )


def _with_original(block: Block, blocks: Mapping[str, Block], fields: Fields) -> Block:
    original, seen = block, {block.uuid}
    while original.replicated_block:
        uuid, path = original.replicated_block, f"{block.uuid}.replicated_block"
        if uuid not in blocks:
            fields.problem(path, f"there is no block {uuid[:200]!r}", partial(nearest, uuid, blocks))
            return block
        if uuid in seen:
            fields.problem(path, f"{block.replicated_block!r} leads back to itself")
            return block
        original = blocks[uuid]
        seen.add(uuid)
    return block if original is block else block._replace(original=original)


def _warn_about_downstream(fields: Fields, blocks: Mapping[str, Block]) -> None:
    edges = {(above, block.uuid) for block in blocks.values() for above in block.upstream_blocks}
    for block in blocks.values():
        for below in block.downstream_blocks:
            if (block.uuid, below) not in edges:
                message = f"{block.uuid!r} names {below[:200]!r} downstream, which doesn't name it upstream: ignored"
                fields.warn("blocks", message)

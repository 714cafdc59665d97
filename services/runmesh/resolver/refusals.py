"""What is refused before anything runs: what a request may not bring, and what would run wrongly here.

An honest refusal beats a wrong run: a condition that nobody evaluates, or a fan-out that never happens, would end in a
`completed` that isn't true.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runmesh.errors import Problem, nearest
from runmesh.events import RunRequest
from runmesh.executor import installed_types
from runmesh.projects import Block, Pipeline
from runmesh.projects.fanout import Kind, is_child, role
from runmesh.resolver.configuration import Configuration
from runmesh.resolver.policy import Policy

_NATIVE_PIPELINES: Final = frozenset({"python", "pyspark"})
_NATIVE_BLOCKS: Final = frozenset({"data_loader", "transformer", "data_exporter", "custom", "sensor"})
_USE_MAGE: Final = "set `runtime: mage` in its executor_config, with an image that holds Mage"
_USE_NATIVE: Final = "set `runtime: native` in its executor_config"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation allows, and its guard rails. `runmesh up` and `explain` allow all."""

    allow_inline: bool = True
    """Requests may bring a whole pipeline."""
    allow_overrides: bool = True
    """Requests may bring executor configuration (an `executor_type` is always allowed)."""
    policy: Policy = field(default_factory=Policy)
    """What it says of configuration; and it can forbid what is allowed here."""
    known_types: Collection[str] = field(default_factory=installed_types)


def of_request(request: RunRequest, rules: Rules) -> Iterator[Problem]:
    """Yield what a request may not bring here, and the executor types it names that don't exist."""
    policy = rules.policy
    if isinstance(request.pipeline, dict) and not (rules.allow_inline and policy.allow_inline):
        hint = "set RUNMESH_ALLOW_INLINE" if policy.allow_inline else f"{policy.source} forbids them"
        yield Problem("request: pipeline", "inline pipelines are not allowed here", hint)
    for key in ("executor_config", "block_config"):
        if getattr(request, key) and not (rules.allow_overrides and policy.allow_overrides):
            hint = "set RUNMESH_ALLOW_OVERRIDES" if policy.allow_overrides else f"{policy.source} forbids it"
            yield Problem(f"request: {key}", "configuration is not allowed here", hint)
    if {".", ".."} & set((request.execution_partition or "").split("/")):
        message = f"{request.execution_partition!r} would leave the run's directory"
        yield Problem("request: execution_partition", message, "leave out . and ..")
    for name in request.executor_config:
        if name not in rules.known_types:
            message = f"unknown executor type {name!r} (request level)"
            yield Problem("request: executor_config", message, nearest(name, rules.known_types))


def of_pipeline(pipeline: Pipeline, request: RunRequest, *, whole: bool) -> Iterator[Problem]:
    """Yield what a request can't ask of a pipeline that runs in one process."""
    if whole and request.blocks:
        hint = 'ask for "run_pipeline_in_one_process": false' if pipeline.type != "streaming" else None
        yield Problem("request: blocks", "a pipeline that runs in one process runs whole", hint)
    if whole and request.block_config:
        yield Problem("request: block_config", "a pipeline that runs in one process has one configuration")


def of_runtime(
    configuration: Configuration,
    pipeline: Pipeline,
    blocks: Iterable[str],
    parts: Mapping[str, Sequence[Kind]],
    file: str,
) -> Iterator[Problem]:
    """Yield why these blocks can't run in the runtime that was chosen for them, in one process or each in its own.

    `parts` says what each block gets of its upstream blocks (see `fanout`).
    """
    level = configuration.provenance.get("runtime", "default")
    match configuration.values.get("runtime", "native"):
        case "native":
            yield from _native_pipeline(pipeline, file)
            for uuid in blocks:
                yield from _native_block(pipeline.blocks[uuid])
        case "mage":
            for uuid in blocks:
                yield from _mage_block(pipeline.blocks[uuid], parts.get(uuid, ()), level)


def _native_pipeline(pipeline: Pipeline, file: str) -> Iterator[Problem]:
    if pipeline.type not in _NATIVE_PIPELINES:
        yield Problem(f"{file}: type", f"the native runtime can't run {pipeline.type} pipelines", _USE_MAGE)


def _native_block(block: Block) -> Iterator[Problem]:
    if block.type not in _NATIVE_BLOCKS or block.language != "python":
        kind = f"{block.type} blocks in {block.language}"
        yield Problem(f"block {block.uuid}: type", f"the native runtime can't run {kind}", _USE_MAGE)


def _mage_block(block: Block, upstream: Sequence[Kind], level: str) -> Iterator[Problem]:
    """Mage knows of a dynamic block's children only from its own database."""
    what = "a dynamic block" if role(block).dynamic else "a dynamic block's child" if is_child(upstream) else ""
    if what:
        message = f"{what} needs the native runtime, and `runtime: mage` was chosen ({level} level)"
        yield Problem(f"block {block.uuid}: runtime", message, _USE_NATIVE)


def of_mage(
    configuration: Configuration, pipeline: Pipeline, file: str, *, whole: bool, on_disk: bool
) -> Iterator[Problem]:
    """Yield why `mage run` can't run a pipeline, or would do something else than Mage's own scheduler does with it."""
    if configuration.values.get("runtime") != "mage":
        return
    chosen = f"`runtime: mage` was chosen ({configuration.provenance.get('runtime', 'default')} level)"
    if not on_disk:
        yield Problem(file, f"Mage runs only what is on disk, and {chosen}", _USE_NATIVE)
    if whole and pipeline.type != "streaming" and any(each.upstream_blocks for each in pipeline.conditionals.values()):
        message = f"`mage run` of a whole pipeline asks no conditions: all blocks would run, and {chosen}"
        yield Problem(f"{file}: conditionals", message, "run_pipeline_in_one_process: false")

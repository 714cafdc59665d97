"""The command line of a task: `runmesh-run …` (runtime native), `mage run …` (runtime mage), or a command block's own.

The first two take the same flags for the same things. What is known only at dispatch (run, key, attempt) stands in a
command as a placeholder of its own, such as ``--run {run}``; `fill` puts it in. Only an argument that is a placeholder
as a whole, behind the flag it belongs to, is replaced: never text of a user's. A command block's argv is not touched at
all; what it may want to know is in its environment.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from runmesh.errors import Problem
from runmesh.events import RunRequest
from runmesh.projects import Block, Pipeline, Project, RetryPolicy
from runmesh.projects.commands import COMMAND, LONGEST_ARGUMENT
from runmesh.projects.fanout import Kind, is_child
from runmesh.resolver.merging import plain
from runmesh.subjects import ExecutorType

_PLACES: Final = {
    "{run}": ("--run", "--execution-partition"),
    "{key}": ("--key",),
    "{attempt}": ("--attempt",),
    "{block}": ("--block-uuid",),
    "{index}": ("--dynamic-index",),
    "{callback}": ("--callbacks",),
    "{error}": ("--error",),
}
"""The flags that a placeholder stands behind: anywhere else it is the user's own text."""
_IN_REQUEST: Final = {"--runtime-vars": "variables", "--event": "event"}
"""The flags whose value comes from a request, and its field."""
_ONLY_NATIVE: Final = "only blocks of the native runtime can"
_MAGE: Final = ("/app/run_app.sh", "mage", "run")
"""As Mage's own executors start it: the script of its image prepares the machine first."""


def fill(argv: Sequence[str], *, run: str, key: str, attempt: int, **others: str) -> tuple[str, ...]:
    """Put run, key, attempt and what else is known at dispatch where a command has placeholders for it."""
    known = {"run": run, "key": key, "attempt": str(attempt), **others}
    filled = list(argv)
    for n, argument in enumerate(argv):
        if argument in _PLACES and n and argv[n - 1] in _PLACES[argument]:
            filled[n] = known.get(argument[1:-1], argument)
    return tuple(filled)


@dataclass(frozen=True)
class Commands:
    """Builds the commands of one run's tasks; what they share is written once."""

    project: Project
    pipeline: Pipeline
    revision: str
    request: RunRequest
    document: Mapping[str, Any] | None = None
    """The pipeline itself, where it is on no disk that the job could read."""

    def build(
        self,
        executor_type: str,
        *,
        runtime: str,
        project_path: str | None,
        block: str | None,
        flags: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Return the argv of one block's task, or (None) of the whole pipeline's; `flags` are for our own runtime."""
        which = _flag("--block-uuid", block) if block is not None else ()
        arguments = (project_path or str(self.project.path), self.pipeline.uuid, *which, *self._shared)
        if runtime == "mage":
            start = _MAGE[1:] if executor_type == "local_python" else _MAGE
            return (*start, *arguments, *_json_flag("--runtime-vars", self._variables_for_mage))
        return ("runmesh-run", *arguments, *_json_flag("--runtime-vars", self.request.variables), *self._own, *flags)

    def environment(self, block: Block, project_path: str | None) -> dict[str, str]:
        """Return the variables of a command block: its own, and what the mesh tells it (the run: at dispatch)."""
        path = project_path or (str(self.project.path) if self.project.exists else None)
        return {
            **block.environment,
            **({"RUNMESH_PROJECT_PATH": path} if path else {}),
            "RUNMESH_PROJECT": self.project.name,
            "RUNMESH_PIPELINE": self.pipeline.uuid,
            "RUNMESH_BLOCK": block.uuid,
            "RUNMESH_VARIABLES": self._variables_as_text,
        }

    @cached_property
    def _variables_as_text(self) -> str:
        """All that a block of the native runtime would see: nothing else reads the pipeline's own for a command."""
        return _json({**self.request.event, **plain(self.pipeline.variables), **self.request.variables})

    @cached_property
    def _variables_for_mage(self) -> dict[str, Any]:
        """The run's variables; `mage run` has no flag for an event, whose keys only fill gaps."""
        event = {key: value for key, value in self.request.event.items() if key not in self.pipeline.variables}
        return {**event, **self.request.variables, **({"event": self.request.event} if self.request.event else {})}

    @cached_property
    def _shared(self) -> tuple[str, ...]:
        """The flags that `mage run` knows, too."""
        partition = self.request.execution_partition or "{run}"
        return ("--executor-type", "local_python", "--execution-partition", partition)

    @cached_property
    def _own(self) -> tuple[str, ...]:
        """The flags of our own runtime."""
        flags = ["--run", "{run}", "--key", "{key}", "--attempt", "{attempt}"]
        if self.revision:
            flags += ("--revision", self.revision)
        if self.request.trigger_name:
            flags += _flag("--trigger-name", self.request.trigger_name)
        if self.request.execution_date:
            flags += ("--execution-date", self.request.execution_date.isoformat())
        if self.document is not None:
            flags += ("--pipeline-document", _json(self.document))
        return (*flags, *_json_flag("--event", self.request.event))


def tries(retries: RetryPolicy) -> tuple[str, ...]:
    """Return how often a task of our own runtime is tried again, if it is."""
    return ("--retries", str(retries.retries)) if retries.retries else ()


def of_stream(argv: Sequence[str], block: str, stream: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command of a block as Mage takes it for one stream, with what its scheduler tells of that."""
    before = _flag("--block-uuid", block)
    place = argv.index(before[0])
    named = (*_flag("--block-uuid", f"{block}:{stream}"), *argv[place + len(before) :])
    return (*argv[:place], *named, *_json_flag("--template-runtime-configuration", told))


def refused(block: Block, pipeline: Pipeline, executor_type: str, upstream: Sequence[Kind]) -> Iterator[Problem]:
    """Yield what a command block can't have; `upstream` says what it gets of its upstream blocks (see `fanout`)."""
    where = f"block {block.uuid}"
    if block.image and executor_type == ExecutorType.LOCAL_PYTHON:
        hint = "leave it out, or choose an executor type that runs images"
        yield Problem(f"{where}: image", "local_python runs no images: the command is a process of its machine", hint)
    if block.configuration.get("dynamic"):
        yield Problem(f"{where}: configuration.dynamic", f"a command block can't be dynamic: {_ONLY_NATIVE}")
    if is_child(upstream):
        message = f"a command block can't run once for each item of a dynamic block: {_ONLY_NATIVE}"
        yield Problem(f"{where}: upstream_blocks", message)
    if block.has_callback:
        yield Problem(f"{where}: has_callback", f"a command block can't have callbacks: {_ONLY_NATIVE}")
    for kind, attached in (("callback", pipeline.callbacks), ("conditional", pipeline.conditionals)):
        for uuid, other in attached.items():
            if block.uuid in other.upstream_blocks:
                message = f"a command block can't have {kind}s: {_ONLY_NATIVE} ({block.uuid!r} is one)"
                yield Problem(f"{kind}s: {uuid}", message)


def misplaced(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield the command blocks that are to be callbacks or conditionals."""
    for kind, attached in (("callback", pipeline.callbacks), ("conditional", pipeline.conditionals)):
        for uuid, block in attached.items():
            if block.type == COMMAND:
                yield Problem(f"{kind}s: {uuid}", f"a command block can't be a {kind}: {_ONLY_NATIVE}")


def unreadable_by_mage(pipeline: Pipeline, runtimes: Mapping[str, str]) -> Iterator[Problem]:
    """Yield why Mage can't run any block of a pipeline with command blocks; `runtimes` are those of the blocks."""
    commands = [uuid for uuid, block in pipeline.blocks.items() if block.type == COMMAND]
    mages = [name for name, runtime in runtimes.items() if runtime == "mage" and pipeline.blocks[name].type != COMMAND]
    if commands and mages:
        message = f"Mage reads no pipeline with command blocks, such as {commands[0]!r}, and `runtime: mage` was chosen"
        yield Problem(f"block {mages[0]}: runtime", message, "set `runtime: native`, or use two pipelines")


def in_one_process(commands: Iterable[str]) -> Iterator[Problem]:
    """Yield the command blocks of a pipeline that runs in one process."""
    for uuid in commands:
        hint = "run_pipeline_in_one_process: false"
        yield Problem(f"block {uuid}", "a command block is a process of its own, and this pipeline runs in one", hint)


def too_long(argv: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for every argument that no system would accept."""
    for flag, argument in zip(("", *argv), argv, strict=False):
        size = len(argument.encode(errors="surrogatepass"))
        if size > LONGEST_ARGUMENT:
            what = _IN_REQUEST.get(flag) or flag.removeprefix("--") or "argument"
            message = (
                f"{what} of {size // 1000} KB: more than the {LONGEST_ARGUMENT // 1000} KB that one argument takes"
            )
            where = f"request: {what}" if flag in _IN_REQUEST else "command"
            yield Problem(where, message, "store it, and pass a reference")


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, default=str, separators=(",", ":"))


def _json_flag(name: str, document: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, _json(document)) if document else ()


def _flag(name: str, value: str) -> tuple[str, ...]:
    """Keep a value that looks like an option from being read as one."""
    return (f"{name}={value}",) if value.startswith("-") else (name, value)

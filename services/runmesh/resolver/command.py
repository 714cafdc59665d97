"""The command line of a task: `runmesh-run …` (runtime native) or `mage run …` (runtime mage).

Both take the same flags for the same things. What is known only at dispatch (run, key, attempt) stands in a command as
a placeholder of its own, such as ``--run {run}``; `fill` puts it in. Only an argument that is a placeholder as a whole,
behind the flag it belongs to, is replaced: never text of a user's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from runmesh.errors import Problem
from runmesh.events import RunRequest

LONGEST_ARGUMENT: Final = 100_000
"""Bytes. Linux refuses a single argument above 128 KiB."""
_PLACES: Final = {
    ("--run", "{run}"): "run",
    ("--execution-partition", "{run}"): "run",
    ("--key", "{key}"): "key",
    ("--attempt", "{attempt}"): "attempt",
}
_MAGE: Final = ("/app/run_app.sh", "mage", "run")
"""As Mage's own executors start it: the script of its image prepares the machine first."""


def fill(argv: Sequence[str], *, run: str, key: str, attempt: int) -> tuple[str, ...]:
    """Put run, key and attempt where a command has placeholders for them."""
    known = {"run": run, "key": key, "attempt": str(attempt)}
    before = ("", *argv)
    return tuple(
        known[_PLACES[flag, argument]] if (flag, argument) in _PLACES else argument
        for flag, argument in zip(before, argv, strict=False)
    )


@dataclass(frozen=True)
class Commands:
    """Builds the commands of one run's tasks; what they share is written once."""

    project_path: str
    pipeline: str
    revision: str
    request: RunRequest
    document: Mapping[str, Any] | None = None
    """The pipeline itself, where it is on no disk that the job could read."""

    def build(
        self, executor_type: str, *, runtime: str, project_path: str | None, block: str | None
    ) -> tuple[str, ...]:
        """Return the argv of one block's task, or (None) of the whole pipeline's."""
        which = _flag("--block-uuid", block) if block is not None else ()
        arguments = (project_path or self.project_path, self.pipeline, *which, *self._shared)
        if runtime == "mage":
            return (*(_MAGE[1:] if executor_type == "local_python" else _MAGE), *arguments)
        return ("runmesh-run", *arguments, *self._own)

    @cached_property
    def _shared(self) -> tuple[str, ...]:
        """The flags that `mage run` knows, too."""
        partition = self.request.execution_partition or "{run}"
        variables = self.request.variables
        given = ("--runtime-vars", json.dumps(variables, separators=(",", ":"))) if variables else ()
        return ("--executor-type", "local_python", "--execution-partition", partition, *given)

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
            flags += ("--pipeline-document", json.dumps(self.document, default=str, separators=(",", ":")))
        return tuple(flags)


def too_long(argv: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for every argument that no system would accept."""
    for flag, argument in zip(("", *argv), argv, strict=False):
        size = len(argument.encode(errors="surrogatepass"))
        if size > LONGEST_ARGUMENT:
            what = "variables" if flag == "--runtime-vars" else flag.removeprefix("--") or "argument"
            message = (
                f"{what} of {size // 1000} KB: more than the {LONGEST_ARGUMENT // 1000} KB that one argument takes"
            )
            yield Problem(
                "request: variables" if what == "variables" else "command", message, "store it, and pass a reference"
            )


def _flag(name: str, value: str) -> tuple[str, ...]:
    """Keep a value that looks like an option from being read as one."""
    return (f"{name}={value}",) if value.startswith("-") else (name, value)

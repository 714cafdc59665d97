"""What `explain` returns, and what a plan is built from: every decision, with the reason for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import chain
from typing import Any

from runmesh.errors import Problem
from runmesh.projects import RetryPolicy
from runmesh.resolver.choice import Skipped
from runmesh.resolver.limits import Limits
from runmesh.subjects import DEFAULT_POOL


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockExplanation:
    """Where one block runs, with what, and why."""

    executor_type: str = ""
    """Empty only where nothing could be read."""
    level: str = ""
    """The level that chose the executor type (see `choice`)."""
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    """The level of every value in `config`, by dotted path (see `config`)."""
    skipped: tuple[Skipped, ...] = ()
    """What levels say that was not used, and why."""
    command: tuple[str, ...] = ()
    """With placeholders for what is known only at dispatch (see `command`)."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_command: bool = False
    """A command block's: `command` is the user's own, without placeholders."""
    pool: str = DEFAULT_POOL
    timeout: float | None = None
    """Seconds that it may run."""
    start_timeout: float = 0
    """Seconds in which its platform must start it."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    upstream: tuple[str, ...] = ()
    """The blocks of this run that must complete before it."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What it gets of its upstream blocks (see `projects.fanout`), where that is not all of everything."""
    dynamic: bool = False
    conditional: bool = False
    callbacks: tuple[str, ...] = ()
    """`failure` and `cancelled`, where it has such callbacks."""
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()
    differs: Mapping[str, Any] = field(default_factory=dict)
    """Mage OSS's answer where it is another one: `executor_type`, or the dotted path of a value (None: unset)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineExplanation(BlockExplanation):
    """Where the pipeline as a whole runs, or would run."""

    name: str
    whole: bool = False
    """It runs as one task; otherwise each block is a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that was decided for a run of a pipeline; a run starts only if there are no `errors`."""

    project: str
    pipeline: PipelineExplanation
    blocks: Mapping[str, BlockExplanation] = field(default_factory=dict)
    """The blocks that run, in the order of the document."""
    steps: Mapping[str, BlockExplanation] = field(default_factory=dict)
    """Tasks of their own for what a block's own job can't do: conditions before it, callbacks after it."""
    revision: str = ""
    variables: str = ""
    """Where the pipeline's variables are, as seen from here."""
    max_in_flight: int | None = None
    """How many tasks of the run may be out at once, if the pipeline says so (`block_run_limit`, as in Mage)."""
    limits: Limits | None = None
    """How many runs of the pipeline there may be at once, where that is limited."""
    warnings: tuple[Problem, ...] = ()
    """All of them, the blocks' included."""
    errors: tuple[Problem, ...] = ()
    """Likewise."""


def distinct(*groups: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return every problem once, in order."""
    return tuple(dict.fromkeys(chain.from_iterable(groups)))


def plain(value: Any) -> Any:
    """Turn an explanation, or what is in one, into what JSON knows."""
    if isinstance(value, Problem):
        return value._asdict()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value

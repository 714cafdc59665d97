"""The contract between the worker and an executor: data in, facts out.

An executor is a dumb backend in one file, ``executors/<type>.py``, that exports ``Executor`` and
``Config``. It knows one platform and nothing of NATS: it never publishes, acknowledges, retries, sleeps
in a loop or reads the environment. The worker owns all of that, once for every executor.

Two errors have a meaning. `Rejected`: never going to work. `Unavailable`: an explicit refusal for now, so
nothing was started. Any other exception from `submit` is ambiguous (a job may exist: the worker asks
`find`); from `observe` and `cancel` it never ends a task, it is logged and backed off.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runmesh.events import Cause, Handle
from runmesh.subjects import ExecutorType

__all__ = [
    "ENDED",
    "GONE",
    "UNKNOWN",
    "Backend",
    "Executor",
    "ExecutorConfig",
    "Handle",
    "LogLine",
    "NeedsBeats",
    "Observation",
    "Phase",
    "Position",
    "SeesChanges",
    "Site",
    "StreamsLogs",
    "Task",
    "installed_types",
    "load",
]

_GROUP: Final = "runmesh.executors"


class ExecutorConfig(BaseModel):
    """What every executor's configuration has in common: the keys that the mesh itself acts upon."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unguarded: ClassVar[tuple[str, ...]] = ()
    """Keys by which anything else could be said: where a policy guards anything, nobody may set them."""

    pool: str = Field(
        "default", description="The workers that take the task: a named group, such as one cluster or one region."
    )
    project_path: str | None = Field(
        None, description="Where the project is inside the job; the resolver's own path if absent."
    )
    start_timeout: float = Field(
        1800.0, description="Seconds in which the platform must start the job, else `capacity`."
    )
    shared: bool = Field(
        default=False,
        description="The variables directory is the same for every executor, although its path is a local one.",
    )
    rerun_when_unverified: bool = Field(
        default=False,
        description="Run the task again even where its last job may still be running: only for what may run twice.",
    )
    runtime: Literal["native", "mage"] = Field(
        "native", description="What runs inside the job: ours, or `mage run`, for images that hold Mage."
    )

    @classmethod
    def canonical(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return one level's configuration in the one spelling in which levels are merged; here: as it is."""
        return config

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, config: Any) -> Any:
        if not isinstance(config, Mapping):
            return config
        # What is null only in that spelling, such as an empty name, says nothing; a null of the writer's is a mistake.
        spelled = cls.canonical(config).items()
        return {key: value for key, value in spelled if value is not None or config.get(key) is None}

    @classmethod
    def canonical_paths(cls, path: str) -> tuple[str, ...]:
        """Return where in that spelling all that is said at a dotted path can be."""
        return (path,)

    @classmethod
    def asked_besides(
        cls,
        path: str,  # noqa: ARG003 - for those who have more than one place
        config: Mapping[str, Any],  # noqa: ARG003 - likewise
    ) -> Iterable[tuple[str, tuple[Any, ...]]]:
        """Return where else in a canonical configuration is asked for what is at a dotted path.

        Each with the amounts that count together there: for a policy that sets a maximum.
        """
        return ()

    @classmethod
    def keys(cls) -> Collection[str]:
        """Name all that may be written at the top of a configuration."""
        return cls.model_fields


ConfigT = TypeVar("ConfigT", bound=ExecutorConfig)


@dataclass(frozen=True, slots=True)
class Task(Generic[ConfigT]):
    """One task, ready to run: the executor's own view of an execute event."""

    key: str
    run: str
    block: str
    attempt: int
    resubmission: int
    project: str
    pipeline: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    config: ConfigT
    timeout: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a worker stands: all that an executor may know of its surroundings."""

    mesh: str
    """The mesh's id: part of the labels by which a platform's jobs are known as ours."""
    pool: str
    worker: str
    environment: Mapping[str, str]
    directory: Path
    """A private directory of this worker process, for whatever must be on disk."""


class Phase(StrEnum):
    """What a job is doing, as far as the mesh is concerned."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The platform did not answer, or not in a way that says anything: keep what was known."""
    GONE = "gone"
    """The platform says that there is no such job (any more)."""


ENDED: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Observation:
    """What a platform says of one job at one moment.

    Of a PENDING job, cause and reason say what will have been wrong if it doesn't start within its `start_timeout`.
    """

    phase: Phase
    exit_code: int | None = None
    cause: Cause | None = None
    reason: str | None = None
    url: str | None = None
    log_tail: tuple[str, ...] = ()


UNKNOWN: Final = Observation(Phase.UNKNOWN)
GONE: Final = Observation(Phase.GONE)


class Executor(Protocol[ConfigT]):
    """One platform. Entering imports its SDK and opens its clients, exiting closes them."""

    def __init__(self, site: Site) -> None: ...

    poll_interval: ClassVar[float]
    """Seconds between two observations of the same job."""
    batch: ClassVar[int]
    """How many handles one `observe` takes."""
    gone_window: ClassVar[float]
    """Seconds for which a job must be GONE before it counts as lost (eventual consistency)."""
    find_window: ClassVar[float]
    """Seconds after a submit before `find`'s no can be believed; longer than any call of ours lasts."""
    adoptable: ClassVar[bool]
    """Jobs outlive their worker, and another one can go on with them. If not, slots count jobs, and a job dies with
    its worker."""

    async def __aenter__(self) -> "Executor[ConfigT]": ...
    async def __aexit__(self, *exc_info: object) -> None: ...

    async def submit(self, task: Task[ConfigT]) -> Handle:
        """Start the task's job, or return the one that this key has already; idempotent on `task.key`."""
        ...

    async def find(self, task: Task[ConfigT]) -> Handle | None:
        """Return the job of this task's key, if there is one."""
        ...

    async def observe(self, handles: Collection[Handle]) -> Mapping[Handle, Observation]:
        """Return a value for every handle: UNKNOWN where the platform did not answer."""
        ...

    async def cancel(self, handle: Handle) -> None:
        """Ask the job to stop; idempotent. `observe` says when it is gone."""
        ...

    async def remove(self, handle: Handle) -> None:
        """Delete what is left of an ended job; idempotent. Called after its terminal fact is stored."""
        ...

    def jobs(self) -> AsyncIterator[tuple[str, Handle]]:
        """Yield key and handle of every job of ours on the platform, by label: for the reaper."""
        ...


class Position(NamedTuple):
    """How far a job's log was read: bytes and lines per stream."""

    stdout: tuple[int, int] = (0, 0)
    stderr: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's output, numbered from 1 in its stream, and the position behind it."""

    stream: Literal["stdout", "stderr"]
    number: int
    text: str
    position: Position


@runtime_checkable
class StreamsLogs(Protocol):
    """An executor that can follow its jobs' output (an optional power, found at run time)."""

    def logs(self, handle: Handle, *, since: Position) -> AsyncIterator[LogLine]:
        """Yield the lines from a position on, live, until the job has ended and all is read."""
        ...


@runtime_checkable
class SeesChanges(Protocol):
    """An executor that is told of changes (an optional power): the worker then observes at once."""

    def changes(self) -> AsyncIterator[Handle]:
        """Yield every handle whose observation may have changed. A hint: polling goes on beside it."""
        ...


@runtime_checkable
class NeedsBeats(Protocol):
    """An executor whose jobs must not outlive their worker (an optional power)."""

    async def beat(self, lease: float) -> None:
        """The worker is alive for `lease` more seconds; without the next beat, all jobs stop by themselves.

        No lease holds before the first beat.
        """
        ...


class Backend(NamedTuple):
    """What an executor's file exports."""

    Executor: Any
    Config: type[ExecutorConfig]


@cache
def installed_types() -> tuple[str, ...]:
    """Return the types that exist: Mage's, and third parties' (entry-point group ``runmesh.executors``)."""
    ours = [str(kind) for kind in ExecutorType]
    return (*ours, *sorted(entry_points(group=_GROUP).names - set(ours)))


def load(executor_type: str) -> Backend | None:
    """Return an executor type's file, ours or a third party's (entry-point group ``runmesh.executors``).

    None if there is none. No SDK is imported: that happens on entering the executor.
    """
    if executor_type in tuple(ExecutorType):
        module: Any = import_module(f"runmesh.executors.{executor_type}")
        return Backend(module.Executor, module.Config)
    for point in entry_points(group=_GROUP, name=executor_type):
        module = point.load()
        return Backend(module.Executor, module.Config)
    return None

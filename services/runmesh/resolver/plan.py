"""What a run will do, decided once and stored before the run is accepted.

A plan is immutable. All that changes is in `state.State`; `advance.advance` moves it, and
`owed.owed` says what the world must be told. None of them does I/O or reads a clock.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import Field

from runmesh.events import RunRequest, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver.explanation import BlockExplanation, Explanation
from runmesh.resolver.limits import Limits
from runmesh.resolver.state import Debt, Document, State, TaskRecord
from runmesh.settings import Settings
from runmesh.subjects import WHOLE_PIPELINE


class TaskPlan(Document):
    """One task: where it runs, with what, after what, and how often it is tried."""

    upstream: tuple[str, ...] = ()
    executor_type: str
    pool: str
    config: int
    """Index into the plan's configurations."""
    command: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    is_command: bool = False
    """A command block's: its argv is the user's own, and it leaves no outcome."""
    timeout: float | None = None
    start_timeout: float
    retries: RetryPolicy = RetryPolicy()
    rerun_when_unverified: bool = False


class Plan(Document):
    """A run's tasks and everything that was decided for them."""

    run: str
    project: str
    revision: str
    pipeline: str
    request: RunRequest
    digest: str = ""
    """Of the request, as in the state."""
    execution_partition: str
    tasks: dict[str, TaskPlan]
    configs: tuple[dict[str, object], ...]
    """Each configuration once, however many tasks share it."""
    carried: tuple[str, ...] = ()
    """Blocks that completed in the run that this one retries."""
    retry_of: str | None = None
    variables: str = ""
    """Where outputs and outcomes are."""
    max_in_flight: int
    limits: Limits | None = None
    """How many runs of the pipeline there may be at once, where that is limited."""
    queue_timeout: float
    infrastructure_retries: int
    trace: dict[str, str] = Field(default_factory=dict)

    @cached_property
    def pools(self) -> frozenset[tuple[str, str]]:
        """The executor types and pools that the run needs."""
        return frozenset((task.executor_type, task.pool) for task in self.tasks.values())

    @cached_property
    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks directly below each task."""
        below: dict[str, list[str]] = {block: [] for block in self.tasks}
        for block, task in self.tasks.items():
            for above in task.upstream:
                below[above].append(block)
        return {block: tuple(found) for block, found in below.items()}

    def below(self, blocks: Iterable[str]) -> set[str]:
        """Return these tasks and all that is below them."""
        found: set[str] = set()
        todo = [block for block in blocks if block in self.tasks]
        while todo:
            block = todo.pop()
            if block not in found:
                found.add(block)
                todo.extend(self.downstream[block])
        return found


def plan(explanation: Explanation, request: RunRequest, *, run: str, settings: Settings) -> Plan:
    """Turn an explanation without errors into a run's plan."""
    parts = _parts(explanation)
    configs: list[dict[str, object]] = []
    places: dict[str, int] = {}
    tasks = {}
    for block, part in parts.items():
        place = places.setdefault(repr(part.config), len(configs))
        if place == len(configs):
            configs.append(dict(part.config))
        tasks[block] = _task(part, config=place, within=parts)
    return Plan(
        run=run,
        project=explanation.project,
        revision=explanation.revision,
        pipeline=explanation.pipeline.name,
        request=request,
        execution_partition=request.execution_partition or run,
        tasks=tasks,
        configs=tuple(configs),
        variables=explanation.variables,
        max_in_flight=explanation.max_in_flight or settings.max_in_flight,
        limits=explanation.limits,
        queue_timeout=settings.queue_timeout,
        infrastructure_retries=settings.infrastructure_retries,
    )


def _parts(explanation: Explanation) -> Mapping[str, BlockExplanation]:
    if explanation.pipeline.whole:
        return {WHOLE_PIPELINE: explanation.pipeline}
    return explanation.blocks


def _task(part: BlockExplanation, *, config: int, within: Mapping[str, object]) -> TaskPlan:
    return TaskPlan(
        upstream=tuple(block for block in part.upstream if block in within),
        executor_type=part.executor_type,
        pool=part.pool,
        config=config,
        command=part.command,
        environment=dict(part.environment),
        is_command=part.is_command,
        timeout=part.timeout,
        start_timeout=part.start_timeout,
        retries=part.retries,
        rerun_when_unverified=bool(part.config.get("rerun_when_unverified")),
    )


def accept(plan: Plan, *, now: datetime) -> State:
    """Return the first state of a planned run: accepted, with the blocks that a retry carries over completed."""
    timeout = plan.request.timeout
    return State(
        run=plan.run,
        project=plan.project,
        pipeline=plan.pipeline,
        state=RunState.ACCEPTED,
        admitted=plan.limits is None,
        digest=plan.digest,
        created_at=now,
        deadline=now + timedelta(seconds=timeout) if timeout else None,
        tasks={block: TaskRecord(state=TaskState.COMPLETED, attempt=0) for block in plan.carried},
        outbox=(Debt(kind="run", run_state=RunState.ACCEPTED, at=now),),
        retry_of=plan.retry_of,
    )

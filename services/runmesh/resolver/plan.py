"""What a run will do, decided once and stored before the run is accepted.

A plan is immutable. All that changes is in `state.State`; `advance.advance` moves it, and
`owed.owed` says what the world must be told. None of them does I/O or reads a clock.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice

from pydantic import Field

from runmesh.errors import MOST_PROBLEMS, Invalid, Problem, nearest
from runmesh.events import CancelRequest, RetryRequest, RunRequest, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.projects.fanout import Kind, is_child
from runmesh.resolver.document import Document
from runmesh.resolver.explanation import BlockExplanation, Explanation
from runmesh.resolver.fan import Fan, Items
from runmesh.resolver.limits import Limits
from runmesh.resolver.state import Debt, State, TaskRecord
from runmesh.resolver.validation import beyond_defaults
from runmesh.settings import Settings
from runmesh.subjects import CALLBACK, WHOLE_PIPELINE, block_of, claim, task_key


class TaskPlan(Document):
    """One task: where it runs, with what, after what, and how often it is tried."""

    upstream: tuple[str, ...] = ()
    inputs: dict[str, Kind] = Field(default_factory=dict)
    """What it gets of each of its block's upstream blocks, in their order; empty where that is all of everything."""
    dynamic: bool = False
    """Its outcome says how many children the blocks below it have."""
    conditional: bool = False
    """Its outcome says whether its conditions were met."""
    callbacks: tuple[str, ...] = ()
    """`failure` and `cancelled`, where the block has such callbacks (see `Plan.callbacks`)."""
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

    @property
    def fans_out(self) -> bool:
        """It runs once per item of something above it."""
        return is_child(tuple(self.inputs.values()))


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
    callbacks: dict[str, TaskPlan] = Field(default_factory=dict)
    """By block, or for the pipeline in one process: the task that runs the callbacks which its own job could not."""
    carried: tuple[str, ...] = ()
    """Blocks that completed in the run that this one retries; `fans` and `items` are what is kept of children there."""
    fans: dict[str, Fan] = Field(default_factory=dict)
    items: dict[str, Items] = Field(default_factory=dict)
    retry_of: str | None = None
    variables: str = ""
    """Where outputs and outcomes are."""
    max_in_flight: int
    limits: Limits | None = None
    """How many runs of the pipeline there may be at once, where that is limited."""
    queue_timeout: float
    infrastructure_retries: int
    max_children: int = 10_000
    """How many children all blocks of the run may have together."""
    trace: dict[str, str] = Field(default_factory=dict)

    @cached_property
    def pools(self) -> frozenset[tuple[str, str]]:
        """The executor types and pools that the run needs."""
        return frozenset((task.executor_type, task.pool) for task in (*self.tasks.values(), *self.callbacks.values()))

    @cached_property
    def size(self) -> int:
        """How many bytes it has as JSON; what is copied from it shares them."""
        return len(self.__pydantic_serializer__.to_json(self, exclude_defaults=True))

    def task(self, name: str) -> TaskPlan:
        """Return the plan of a task: of a block, of one of its children, or of its callbacks."""
        if (found := self.tasks.get(name)) is not None:
            return found
        if name.startswith(CALLBACK):
            name = name.removeprefix(CALLBACK)
            return self.callbacks[name] if name in self.callbacks else self.callbacks[block_of(name)]
        return self.tasks[block_of(name)]

    def claim(self, name: str, attempt: int, resubmission: int) -> str:
        """Return the key of a submission's claim."""
        task = self.task(name)
        return claim(task.executor_type, task.pool, task_key(self.run, name, attempt, resubmission))

    @cached_property
    def fanning(self) -> Mapping[str, None]:
        """The blocks that run once per item, in the plan's order."""
        return {block: None for block, task in self.tasks.items() if task.inputs and task.fans_out}

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
    for block, part in {**parts, **_callbacks(explanation)}.items():
        config = beyond_defaults(part.executor_type, part.config)
        place = places.setdefault(repr(config), len(configs))
        if place == len(configs):
            configs.append(config)
        tasks[block] = _task(part, config=place, within=parts)
    callbacks = {block.removeprefix(CALLBACK): tasks.pop(block) for block in _callbacks(explanation)}
    return Plan(
        run=run,
        project=explanation.project,
        revision=explanation.revision,
        pipeline=explanation.pipeline.name,
        request=request,
        execution_partition=request.execution_partition or run,
        tasks=tasks,
        callbacks=callbacks,
        configs=tuple(configs),
        variables=explanation.variables,
        max_in_flight=explanation.max_in_flight or settings.max_in_flight,
        limits=explanation.limits,
        queue_timeout=settings.queue_timeout,
        infrastructure_retries=settings.infrastructure_retries,
        max_children=settings.max_dynamic_children,
    )


def _parts(explanation: Explanation) -> Mapping[str, BlockExplanation]:
    if explanation.pipeline.whole:
        return {WHOLE_PIPELINE: explanation.pipeline}
    steps = {name: step for name, step in explanation.steps.items() if not name.startswith(CALLBACK)}
    return {**explanation.blocks, **steps}


def _callbacks(explanation: Explanation) -> Mapping[str, BlockExplanation]:
    return {name: step for name, step in explanation.steps.items() if name.startswith(CALLBACK)}


def _task(part: BlockExplanation, *, config: int, within: Mapping[str, object]) -> TaskPlan:
    return TaskPlan(
        upstream=tuple(block for block in part.upstream if block in within),
        inputs=dict(part.inputs),
        dynamic=part.dynamic,
        conditional=part.conditional,
        callbacks=part.callbacks,
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
        fans=plan.fans,
        items=plan.items,
        outbox=(Debt(kind="run", run_state=RunState.ACCEPTED, at=now),),
        retry_of=plan.retry_of,
    )


def repeatable(plan: Plan | None, state: State, request: RetryRequest) -> Plan:
    """Return the plan that a retry carries out again. Raises `Invalid` for a run that has nothing to run again."""
    run, asked = f"run {request.run!r}", request.blocks or ()
    if not state.final:
        raise Invalid(Problem("run", f"{run} has not ended", "cancel it, or wait"))
    if plan is None:
        raise Invalid(Problem("run", f"{run} never began", "submit a new run"))
    if state.state is RunState.COMPLETED and not asked:
        message = f"{run} completed: nothing in it is to be run again"
        raise Invalid(Problem("run", message, "name the blocks to run again, or submit a new run"))
    if unknown := [block for block in asked if block not in plan.tasks]:
        raise _no_blocks(plan, run, unknown)
    return plan


def check_stoppable(plan: Plan, state: State, request: CancelRequest) -> None:
    """Raise `Invalid` if a cancel names what is no block of the run, nor a child of one: no fact would ever say so."""
    known = plan.tasks.keys() | state.tasks.keys()
    if unknown := [name for name in request.blocks or () if not {name, block_of(name)} & known]:
        raise _no_blocks(plan, f"run {request.run!r}", unknown)


def _no_blocks(plan: Plan, run: str, unknown: Iterable[str]) -> Invalid:
    hints = {block: nearest(block, plan.tasks) for block in islice(unknown, MOST_PROBLEMS)}
    return Invalid(*(Problem("blocks", f"{run} has no block {block!r}", hint) for block, hint in hints.items()))


def carry(plan: Plan, before: Plan, state: State, again: Iterable[str]) -> Plan:
    """Return the plan of a retry: what completed is kept, children too, but not `again` and what is below."""
    changed = [
        block for block in plan.tasks if block in before.tasks and not _same(before.tasks[block], plan.tasks[block])
    ]
    redone = before.below([*again, *changed]) | plan.below(changed)
    carried = {
        block
        for block, record in state.tasks.items()
        if record.state is TaskState.COMPLETED and block in plan.tasks and block not in redone
    }
    fans: dict[str, Fan] = {}
    for block in (block for block in state.fans if block in plan.fanning and block not in redone):
        if block in carried or _keeps_its_place(plan.tasks[block], carried, fans):
            fans[block] = state.fans[block].again()
    kept = {name: items for name, items in state.items.items() if name in carried or block_of(name) in fans}
    ordered = tuple(block for block in state.tasks if block in carried)
    return plan.model_copy(update={"retry_of": before.run, "carried": ordered, "fans": fans, "items": kept})


def _same(old: TaskPlan, new: TaskPlan) -> bool:
    """Say whether the project still wants the same children of a block, and below it."""
    return (list(old.inputs.items()), old.dynamic) == (list(new.inputs.items()), new.dynamic)


def _keeps_its_place(task: TaskPlan, carried: Iterable[str], fans: Iterable[str]) -> bool:
    """Say whether the children of a block are the same again: what they were made from is kept."""
    return all(
        block in carried or (kind is Kind.EACH and block in fans) for block, kind in task.inputs.items()
    ) and all(block in carried or block in task.inputs for block in task.upstream)

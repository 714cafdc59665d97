"""What a state owes the world: its debts as events, the same however often they are made."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from runmesh.claims import Stop
from runmesh.errors import Problem
from runmesh.events import OUTCOME, BlockStatus, ExecuteTask, RequestProblem, RunFact, RunState, TaskFact, TaskState
from runmesh.projects import outcome_path
from runmesh.resolver.children import part_of
from runmesh.resolver.command import fill
from runmesh.resolver.plan import Plan, TaskPlan
from runmesh.resolver.state import Debt, State
from runmesh.subjects import CALLBACK, task_key

_MOST_BLOCKS: Final = 200
_NOTHING: Final[Mapping[str, str]] = {}
_NO_GRAPH: Final = (None, None)
_LARGEST_GRAPH: Final = 200_000
"""Characters of all names in `upstream`: a denser graph would not fit into a message."""


class Owed(NamedTuple):
    """A debt, and the event that settles it."""

    debt: Debt
    event: ExecuteTask | TaskFact | RunFact | Stop


def owed(plan: Plan | None, state: State) -> Iterator[Owed]:
    """Yield what is owed, oldest first. A run that never got a plan owes run facts only."""
    for debt in state.outbox:
        if debt.kind == "run":
            yield Owed(debt, run_fact(plan, state, debt))
        elif plan is not None:
            yield Owed(debt, _event(plan, state, debt))


def _event(plan: Plan, state: State, debt: Debt) -> ExecuteTask | TaskFact | Stop:
    match debt.kind:
        case "execute":
            return command(plan, state, debt.block, debt.attempt, debt.resubmission)
        case "stop":
            return Stop(keys=stopping_keys(plan, state), reason=debt.reason or state.reason)
        case _:
            return _task_fact(plan, debt)


def command(plan: Plan, state: State, name: str, attempt: int, resubmission: int) -> ExecuteTask:
    """Return the command for one submission of a task that is out."""
    record, task = state.tasks[name], plan.task(name)
    known = {}
    if task.inputs:
        known["index"] = part_of(plan, state, name, record.index)
    if record.index is not None:
        known["block"] = name.removeprefix(CALLBACK)
    if record.callback:
        known |= {"callback": record.callback, "error": (record.reason or "").replace("\0", " ")}
    return execute(plan, name, attempt, resubmission, known)


def execute(plan: Plan, name: str, attempt: int, resubmission: int, known: Mapping[str, str] = _NOTHING) -> ExecuteTask:
    """Return the command for one submission of one task; `known` are further values for its placeholders."""
    task = plan.task(name)
    key = task_key(plan.run, name, attempt, resubmission)
    return ExecuteTask(
        run=plan.run,
        block=name,
        attempt=attempt,
        resubmission=resubmission,
        key=key,
        project=plan.project,
        revision=plan.revision,
        pipeline=plan.pipeline,
        executor_type=task.executor_type,
        pool=task.pool,
        config=plan.configs[task.config],
        command=task.command
        if task.is_command
        else fill(task.command, run=plan.run, key=key, attempt=attempt, **known),
        environment={**task.environment, **_told(plan, task, key, attempt)},
        timeout=task.timeout,
        start_timeout=task.start_timeout,
        labels=plan.request.labels,
        needs_outcome=task.dynamic or task.conditional,
        callback="callback" in known,
    )


def _told(plan: Plan, task: TaskPlan, key: str, attempt: int) -> dict[str, str]:
    """Return what a job is told of its task at dispatch: where its outcome belongs, or, to a command, which it is."""
    if task.is_command:
        return {"RUNMESH_RUN": plan.run, "RUNMESH_ATTEMPT": str(attempt)}
    return {OUTCOME: outcome_path(plan.variables, plan.run, key)}


def _task_fact(plan: Plan, debt: Debt) -> TaskFact:
    assert debt.state is not None  # noqa: S101 - a debt of kind "task" always names its state
    return task_fact(
        plan,
        debt.block,
        debt.attempt,
        debt.resubmission,
        debt.state,
        at=debt.at,
        n=debt.n,
        cause=debt.cause,
        reason=debt.reason,
        due_at=debt.due_at,
        children=debt.children,
    )


def task_fact(
    plan: Plan,
    block: str,
    attempt: int,
    resubmission: int,
    state: TaskState,
    *,
    at: datetime,
    n: int = 0,
    **details: Any,
) -> TaskFact:
    """Return a fact of the resolver's own about one submission of one task; `details` are more of its fields."""
    task = plan.task(block)
    return TaskFact(
        run=plan.run,
        block=block,
        attempt=attempt,
        resubmission=resubmission,
        key=task_key(plan.run, block, attempt, resubmission),
        state=state,
        executor_type=task.executor_type,
        pool=task.pool,
        at=at,
        n=n,
        **details,
    )


def stopping_keys(plan: Plan, state: State) -> tuple[str, ...] | Literal["all"]:
    """Return the keys of the tasks that must stop."""
    if state.stopping == "all":
        return "all"
    return tuple(
        task_key(plan.run, block, record.attempt, record.resubmission)
        for block in state.stopping
        if (record := state.tasks.get(block))
    )


def run_fact(plan: Plan | None, state: State, debt: Debt) -> RunFact:
    """Return the fact that the run has reached the debt's state."""
    assert debt.run_state is not None  # noqa: S101 - a debt of kind "run" always names its state
    with_graph = debt.run_state is RunState.ACCEPTED and plan is not None and _graph_size(plan) <= _LARGEST_GRAPH
    return RunFact(
        run=state.run,
        project=state.project,
        pipeline=state.pipeline,
        state=debt.run_state,
        reason=debt.reason,
        errors=state.errors or None,
        blocks=_blocks(plan, state, with_graph=with_graph) if plan and len(plan.tasks) <= _MOST_BLOCKS else None,
        counts=_counts(plan, state) if plan else None,
        retry_of=state.retry_of,
        at=debt.at,
    )


def _blocks(plan: Plan, state: State, *, with_graph: bool) -> dict[str, BlockStatus]:
    found = {}
    for block, task in plan.tasks.items():
        record, graph = state.tasks.get(block), (task.executor_type, task.upstream) if with_graph else _NO_GRAPH
        reached = (record.state, record.attempt) if record else (_before_its_end(state, block), 0)
        found[block] = _status(*reached, *graph)
        if block in state.fans:
            found[block] = found[block].model_copy(update={"children": state.fans[block].counts()})
    return found


@lru_cache(512)
def _status(
    state: TaskState | Literal["pending"], attempts: int, executor_type: str | None, upstream: tuple[str, ...] | None
) -> BlockStatus:
    """Return what is said of a block: mostly the same of many."""
    return BlockStatus(state=state, attempts=attempts, executor_type=executor_type, upstream=upstream)


def _before_its_end(state: State, block: str) -> TaskState | Literal["pending"]:
    return TaskState.RUNNING if block in state.fans and state.fans[block].begun else "pending"


def _graph_size(plan: Plan) -> int:
    return sum(len(above) for task in plan.tasks.values() for above in task.upstream)


def _counts(plan: Plan, state: State) -> dict[str, int]:
    counts: dict[str, int] = {}
    for block in plan.tasks:
        name = str(state.tasks[block].state) if block in state.tasks else "pending"
        counts[name] = counts.get(name, 0) + 1
    return counts


def rejection(
    run: str, project: str, pipeline: str, problems: tuple[Problem, ...], digest: str, now: datetime
) -> State:
    """Return the state of a request that can't become a run; the first hundred problems say enough."""
    return State(
        run=run,
        project=project,
        pipeline=pipeline,
        state=RunState.REJECTED,
        digest=digest,
        reason=str(problems[0])[:1000] if problems else None,
        created_at=now,
        ended_at=now,
        errors=tuple(
            RequestProblem(
                path=problem.path[:500], message=problem.message[:2000], hint=problem.hint and problem.hint[:2000]
            )
            for problem in problems[:100]
        ),
        outbox=(Debt(kind="run", run_state=RunState.REJECTED, at=now, reason=str(problems[0])[:1000]),),
    )

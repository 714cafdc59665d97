"""Plans and facts for tests of the pure half of the resolver."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runmesh.events import Cause, RunRequest, TaskFact, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver.advance import advance
from runmesh.resolver.plan import Plan, TaskPlan, accept
from runmesh.resolver.state import State
from runmesh.subjects import task_key

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def plan_of(
    graph: Mapping[str, Sequence[str]],
    *,
    retries: RetryPolicy = RetryPolicy(delay=0),  # noqa: B008 - frozen
    executor_type: str = "local_python",
    request: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Plan:
    """Return a plan from block to upstream blocks."""
    tasks = {
        block: TaskPlan(
            upstream=tuple(upstream),
            executor_type=executor_type,
            pool="default",
            config=0,
            command=("runmesh-run", "/p", "pipe", "--block-uuid", block, "--run", "{run}", "--key", "{key}"),
            start_timeout=60,
            retries=retries,
        )
        for block, upstream in graph.items()
    }
    plan = Plan(
        run="run-1",
        project="shop",
        revision="r",
        pipeline="pipe",
        request=RunRequest(pipeline="pipe", **(request or {})),
        execution_partition="run-1",
        tasks=tasks,
        configs=({},),
        max_in_flight=256,
        queue_timeout=3600,
        infrastructure_retries=3,
    )
    return plan.model_copy(update=changes)


def begun(plan: Plan, now: datetime = NOW) -> State:
    """Return the first stored state of a run."""
    return advance(plan, accept(plan, now=now), (), now)


def fact_of(plan: Plan, state: State, block: str, end: TaskState, cause: Cause | None = None, **more: Any) -> TaskFact:
    """Return a worker's terminal fact about the current submission of a block."""
    record = state.tasks[block]
    return TaskFact(
        run=plan.run,
        block=block,
        attempt=record.attempt,
        resubmission=record.resubmission,
        key=task_key(plan.run, block, record.attempt, record.resubmission),
        state=end,
        n=3,
        executor_type=plan.task(block).executor_type,
        pool="default",
        cause=cause,
        at=NOW,
        **more,
    )

"""What services count, for ``/metrics``: in events, not in states, so that replicas add up.

Two are no events: what a worker holds adds up as well; how the queues stand is told by every resolver, so the largest
figure counts. Labels are words of ours, executor types, pools, projects that there are and operations of a platform:
never a run, a block, or anything else that is made anew for each, or that a stranger may write.

Figures begin at 0 where the labels are known beforehand, since Prometheus sees no growth in a series' first value. A
label's child is looked up by `cache`, since `labels` itself costs three times as much as counting. What each metric
means, and which alert looks at it: docs/alerts.md.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from runmesh.errors import Invalid, NotFound, TooLarge
from runmesh.events import Cause, RunState, TaskFact, TaskState
from runmesh.subjects import worker_service

# When each child was made would be a line more for every line, and say nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]

_MESH: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Of what the mesh itself does: milliseconds, unless something is wrong."""
_SUBMIT: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800)
"""Up to the default of `start_timeout`."""
_CALL: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORK: Final = (0.1, 0.5, 1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 12 * 3600, 86_400)
"""Of what users do: from a tenth of a second to a day."""

REQUESTS: Final = Counter("runmesh_requests", "Requests taken from the queue.", ("verb",))
REJECTIONS: Final = Counter("runmesh_rejections", "Requests that could not become a run.", ("code",))
RUNS: Final = Counter("runmesh_runs", "Facts of runs told; no project where there is none.", ("project", "state"))
TASKS: Final = Counter(
    "runmesh_tasks", "Facts of tasks told, by workers and resolvers.", ("executor", "pool", "state", "cause")
)
DEAD: Final = Counter("runmesh_dead_letters", "Messages that could not be handled.", ("service", "reason"))
UNPAID: Final = Counter("runmesh_publish_refusals", "Publishes refused for now: they stay owed, and are sent again.")

TO_EXECUTE: Final = Histogram(
    "runmesh_request_to_execute_seconds", "From a stored request to its first execute events.", buckets=_MESH
)
TO_SUBMITTED: Final = Histogram(
    "runmesh_execute_to_submitted_seconds",
    "From a stored execute event to the job on its platform.",
    ("executor", "pool"),
    buckets=_SUBMIT,
)
TO_FACT: Final = Histogram(
    "runmesh_end_to_fact_seconds",
    "From when a worker sees that a job has ended to its stored fact.",
    ("executor", "pool"),
    buckets=_MESH,
)
RUN_SECONDS: Final = Histogram(
    "runmesh_run_duration_seconds", "From a run's acceptance to its end.", ("project",), buckets=_WORK
)
TASK_SECONDS: Final = Histogram(
    "runmesh_task_duration_seconds", "From a job's start to its end, as seen.", ("executor", "pool"), buckets=_WORK
)

HELD: Final = Gauge("runmesh_tasks_held", "Tasks that this worker holds.", ("executor", "pool"))
REFUSED: Final = Counter(
    "runmesh_submissions_refused", "Submissions that a platform refused for now.", ("executor", "pool")
)
LEASES: Final = Counter("runmesh_leases_lost", "Workers that had to begin anew.", ("executor", "pool"))
CALLS: Final = Counter(
    "runmesh_platform_calls", "Calls to a platform's API, each try.", ("platform", "operation", "outcome")
)
CALL_SECONDS: Final = Histogram(
    "runmesh_platform_call_seconds", "How long a platform's API took.", ("platform", "operation"), buckets=_CALL
)

PENDING: Final = Gauge("runmesh_queue_pending", "Messages that nobody has taken yet.", ("stream", "consumer"))
TAKEN: Final = Gauge("runmesh_queue_taken", "Messages taken and not acknowledged.", ("stream", "consumer"))
OLDEST: Final = Gauge(
    "runmesh_queue_oldest_seconds", "Age of the oldest message that nobody has taken.", ("stream", "consumer")
)

LOOP_LAG: Final = Gauge(
    "runmesh_event_loop_lag_seconds", "How late the event loop was at worst in the last ten seconds."
)


requested = cache(REQUESTS.labels)
to_submitted = cache(TO_SUBMITTED.labels)
to_fact = cache(TO_FACT.labels)
task_seconds = cache(TASK_SECONDS.labels)
call = cache(CALLS.labels)
call_seconds = cache(CALL_SECONDS.labels)
dead = cache(DEAD.labels)
_run, _task, _run_seconds = cache(RUNS.labels), cache(TASKS.labels), cache(RUN_SECONDS.labels)


def begin_resolver() -> None:
    """Show what a resolver may count."""
    for verb in ("run", "cancel", "retry"):
        requested(verb)
    for code in ("not_found", "invalid", "too_large", "failed"):
        REJECTIONS.labels(code)
    for reason in ("undecodable", "too_large", "id_conflict", "invalid", "wrong_project", "unknown_run", "poison"):
        dead("resolver", reason)


def begin_worker(executor: str, pool: str, held: Callable[[], float]) -> None:
    """Show what a worker may count; `held` is asked whenever Prometheus asks."""
    HELD.labels(executor, pool).set_function(held)
    for state in (TaskState.SUBMITTED, TaskState.RUNNING, TaskState.COMPLETED):
        _task(executor, pool, state, "")
    for cause in Cause:
        _task(executor, pool, TaskState.CANCELLED if cause is Cause.CANCELLED else TaskState.FAILED, cause)
    for reason in ("undecodable", "poison"):
        dead(worker_service(executor), reason)
    for each in (TO_SUBMITTED, TO_FACT, TASK_SECONDS, REFUSED, LEASES):
        each.labels(executor, pool)


def rejected(why: Exception) -> None:
    """Count a request that became no run."""
    match why:
        case NotFound():
            code = "not_found"
        case Invalid():
            code = "invalid"
        case TooLarge():
            code = "too_large"
        case _:
            code = "failed"
    REJECTIONS.labels(code).inc()


def run_told(project: str, state: RunState) -> None:
    """Count a fact of a run; of a project that there is, or of none."""
    _run(project, state).inc()


def run_ended(project: str, seconds: float) -> None:
    """Note how long a run took."""
    _run_seconds(project).observe(seconds)


def task_told(fact: TaskFact) -> None:
    """Count a fact of a task."""
    _task(fact.executor_type, fact.pool, fact.state, fact.cause or "").inc()

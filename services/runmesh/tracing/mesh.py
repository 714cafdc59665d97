"""The spans of the mesh: what services say of runs and tasks, and where children find their parents.

Attributes are our own words and what a project calls its things. Reasons are not among them: they quote what
platforms and users' code say, and that may be secret. The run's facts hold them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runmesh.claims import Claim
from runmesh.cloudevents import trace_of
from runmesh.events import ExecuteTask, RunFact, RunState, TaskFact, TaskState
from runmesh.subjects import block_of
from runmesh.tracing import export
from runmesh.tracing.context import Place, read, span_id, trace_id

if TYPE_CHECKING:
    from runmesh.tracing.spans import Spans

_FAILED: Final = frozenset({RunState.FAILED, RunState.REJECTED})


class Tracing:
    """What one process tells; nothing, and at no cost, before `begin`."""

    def __init__(self) -> None:
        self._spans: Spans | None = None

    def begin(self, spans: "Spans | None") -> None:
        """Tell spans from now on; None: no more."""
        self._spans = spans

    # --- resolver ------------------------------------------------------------------------------

    def of_run(self, caller: Mapping[str, str], run: str, created_at: datetime) -> Mapping[str, str]:
        """Return the trace headers for what follows from a run, whose request came with `caller`."""
        if self._spans is None:
            return caller
        return _run(self._spans, read(caller), run, created_at).headers()

    def run_planned(self, caller: Mapping[str, str], run: str, created_at: datetime, **about: str) -> None:
        """Tell that a request was taken at `created_at`, and that what became of it is stored now."""
        if self._spans is None:
            return
        parent = _run(self._spans, read(caller), run, created_at)
        place = parent._replace(span_id=span_id("plan", run, created_at.timestamp()))
        _tell(self._spans, "plan", place, parent, created_at, datetime.now(UTC), _about(run=run, **about))

    def run_ended(self, fact: RunFact, caller: Mapping[str, str], created_at: datetime) -> None:
        """Tell a run, by its terminal fact."""
        if self._spans is None:
            return
        parent = read(caller)
        about = _about(run=fact.run, project=fact.project, pipeline=fact.pipeline, state=fact.state)
        _tell(
            self._spans,
            f"run {fact.pipeline}",
            _run(self._spans, parent, fact.run, created_at),
            parent,
            created_at,
            fact.at,
            about | _about(retry_of=fact.retry_of),
            error=fact.state if fact.state in _FAILED else None,
        )

    # --- worker --------------------------------------------------------------------------------

    def of_task(self, headers: Mapping[str, str], event: ExecuteTask) -> Mapping[str, str]:
        """Return the trace headers for a task's job, whose command came with `headers`."""
        if self._spans is None:
            return trace_of(headers)
        return _task(self._spans, read(headers), event).headers()

    def task_submitted(
        self, event: ExecuteTask, headers: Mapping[str, str], begun: datetime, error: str | None = None
    ) -> None:
        """Tell one call of the platform that ends now, and the kind of its error."""
        if self._spans is None:
            return
        parent = _task(self._spans, read(headers), event)
        place = parent._replace(span_id=span_id("submit", event.key, begun.timestamp()))
        _tell(self._spans, "submit", place, parent, begun, datetime.now(UTC), _about_task(event), error=error)

    def task_ended(self, event: ExecuteTask, headers: Mapping[str, str], claim: Claim) -> None:
        """Tell a task, by its terminal claim: from when it was first claimed, whoever saw it through."""
        if self._spans is None or (fact := claim.fact) is None:
            return
        parent = read(headers)
        _tell(
            self._spans,
            f"task {block_of(event.block)}",
            _task(self._spans, parent, event),
            parent,
            claim.claimed_at,
            fact.at,
            _about_task(event) | _about_end(fact),
            error=(fact.cause or fact.state) if fact.state is TaskState.FAILED else None,
            events={name: at for name, at in (("submitted", claim.submitted_at), ("running", claim.started_at)) if at},
        )


TRACING: Final = Tracing()


@asynccontextmanager
async def traced(service: str, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Tell spans for the length of the block, if the environment says where to. Raises `Invalid` if it makes no sense.

    Leaving exports what is queued, for a few seconds at most.
    """
    spans = export.spans(f"runmesh-{service.replace(' ', '-')}", environment)
    TRACING.begin(spans)
    try:
        yield
    finally:
        TRACING.begin(None)
        if spans is not None:
            await export.flush(spans)


def _run(spans: "Spans", parent: Place | None, run: str, created_at: datetime) -> Place:
    own = span_id("run", run, created_at.timestamp())
    return _below(spans, parent, parent.trace_id if parent else trace_id(run, created_at), own)


def _task(spans: "Spans", parent: Place | None, event: ExecuteTask) -> Place:
    own = span_id("task", event.key)
    # Without a parent the resolver traces nothing: the task's trace is all that there is.
    return _below(spans, parent, parent.trace_id if parent else span_id("trace", event.key), own)


def _below(spans: "Spans", parent: Place | None, trace: int, own: int) -> Place:
    return Place(trace, own, spans.samples(parent, trace, "runmesh"), parent.state if parent else "")


def _tell(
    spans: "Spans",
    name: str,
    place: Place,
    parent: Place | None,
    start: datetime,
    end: datetime,
    attributes: Mapping[str, str | int],
    **more: Any,
) -> None:
    from runmesh.tracing.spans import Span  # noqa: PLC0415 - there is an SDK, since there are `spans`

    spans.tell(Span(name, place, parent, start, end, attributes, **more))


def _about(**named: str | int | None) -> dict[str, str | int]:
    return {f"runmesh.{name}": value for name, value in named.items() if value is not None}


def _about_task(event: ExecuteTask) -> dict[str, str | int]:
    return _about(
        project=event.project,
        pipeline=event.pipeline,
        run=event.run,
        block=event.block,
        executor=event.executor_type,
        pool=event.pool,
        attempt=event.attempt,
        resubmission=event.resubmission,
        key=event.key,
    )


def _about_end(fact: TaskFact) -> dict[str, str | int]:
    return _about(state=fact.state, cause=fact.cause, exit_code=fact.exit_code, worker=fact.worker, epoch=fact.epoch)

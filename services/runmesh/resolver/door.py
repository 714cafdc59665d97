"""The synchronous door: ``mesh.api.<submit|run|explain>.<project>``, answered at once.

The stored queue stays the only way in: `submit` looks at a request as the resolver that takes it from there will, and
then puts it there. So its answer says that the request is good and stored, not that the run has begun.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json
from ulid import ULID

from runmesh import filters, metrics, subjects
from runmesh.bus import Bus, Message
from runmesh.bus.message import Handler
from runmesh.cloudevents import decode, headers_for, trace_of
from runmesh.errors import Invalid, NotFound, Problem
from runmesh.events import RunRequest, TaskState
from runmesh.resolver.explanation import plain
from runmesh.resolver.planner import Planner
from runmesh.resolver.presence import Presence
from runmesh.resolver.requested import digest_of, document_of
from runmesh.resolver.state import taken
from runmesh.resolver.store import Run, Store

_THE_SERVERS: Final = "nats-"
"""Begins the headers that mean something to the server: they were for us, not for the queue."""


class Door:
    """What a resolver answers."""

    def __init__(self, bus: Bus, planner: Planner, store: Store, presence: Presence) -> None:
        self._bus, self._planner, self._store, self._presence = bus, planner, store, presence

    def endpoints(self) -> Mapping[str, tuple[str, Handler]]:
        """Return subject and handler by verb."""
        handlers = {"submit": self._submit, "run": self._run, "explain": self._explain}
        return {verb: (filters.api(verb), handler) for verb, handler in handlers.items()}

    async def _submit(self, message: Message) -> bytes:
        try:
            return await self._queue(message)
        except Invalid as error:
            metrics.rejected(error)
            raise

    async def _queue(self, message: Message) -> bytes:
        """Queue a request that a run can be made of; answers with the run's id."""
        project = subjects.request_address(message.subject).project
        request = decode(RunRequest, message.headers, message.data)
        run = request.id or str(ULID())
        await self._planner.plan(project, request, run, digest="", trace={})
        if request.id:
            await self._check_free(project, run, digest_of(project, document_of(message)))
            # As it came, since a request that is repeated is known by its body.
            headers = {
                name: value for name, value in message.headers.items() if not name.lower().startswith(_THE_SERVERS)
            }
            data = message.data
        else:
            request = request.model_copy(update={"id": run})
            headers = headers_for(request, event_id=run, source="/runmesh/api", trace=trace_of(message.headers))
            data = request.to_json()
        await self._bus.publish(subjects.request("run", project), data, headers=headers)
        return to_json({"run": run})

    async def _check_free(self, project: str, run: str, digest: str) -> None:
        known = await self._store.load(run)
        if known is None or known.state.digest == digest:
            return
        if known.state.digest or known.state.project != project:  # else it was only cancelled so far
            raise Invalid(Problem("id", taken(known.state, project)))

    async def _run(self, message: Message) -> bytes:
        """Answer ``{"run": "<id>"}`` with the run's stored state, and with what it waits for."""
        project = subjects.request_address(message.subject).project
        run = _run_asked_for(message)
        known = await self._store.load(run) if subjects.RUN_ID.fullmatch(run) else None
        if known is None or known.state.project != project:
            raise NotFound(Problem("run", f"project {project!r} has no run {run!r}", "it may be in the queue still"))
        state = known.state.model_dump(mode="json", exclude={"outbox"})
        return to_json({**state, "waits": dict(waits(known, self._presence.event.pools))})

    async def _explain(self, message: Message) -> bytes:
        """Answer a request with what it would do; nothing is stored."""
        project = subjects.request_address(message.subject).project
        request = decode(RunRequest, message.headers, message.data)
        return to_json(plain(await self._planner.explain(project, request)), fallback=str)


def waits(run: Run, present: frozenset[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield what a run waits for, by block; by no block where it has not begun."""
    state, plan = run.state, run.plan
    if state.final or plan is None:
        return
    if not state.admitted:
        yield "", state.reason or "for its place among the runs of its pipeline"
    for name, record in state.tasks.items():
        task = plan.task(name)
        where = f"{task.executor_type} worker of pool {task.pool!r}"
        if record.state is TaskState.RETRYING:
            yield name, f"for its next attempt at {record.due_at}: {record.reason or record.cause}"
        elif record.state is TaskState.QUEUED and not record.claimed:
            there = (task.executor_type, task.pool) in present
            yield name, f"for a free {where}" if there else f"for a {where}: none has reported"


def _run_asked_for(message: Message) -> str:
    try:
        document: Any = from_json(message.data)
        return str(document["run"])
    except (ValueError, LookupError, TypeError):
        raise Invalid(Problem("run", "is required", 'ask with {"run": "<id>"}')) from None

"""What comes in on REQUESTS: requests to run, to cancel and to retry.

Every message ends in exactly one of: a run that is stored, a `rejected` fact, or a dead letter where there
is no run to reject. The creation of a run's state decides between two requests for one id.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from runmesh import metrics, subjects
from runmesh.bus import Bus, Message
from runmesh.cloudevents import decode, trace_of
from runmesh.dead import bury, lay_to_rest
from runmesh.errors import BusError, Conflict, Invalid, NotPermitted, NotProvisioned, Problem, TooLarge, Undecodable
from runmesh.events import CancelRequest, RetryRequest, RunRequest, RunState
from runmesh.resolver.advance import advance
from runmesh.resolver.happened import Cancel
from runmesh.resolver.lanes import Lanes
from runmesh.resolver.owed import rejection
from runmesh.resolver.plan import Plan, accept, carry, check_stoppable, repeatable
from runmesh.resolver.planner import Planner
from runmesh.resolver.presence import Presence
from runmesh.resolver.requested import derived_id, digest_of, document_of, names_of
from runmesh.resolver.state import Debt, State, taken
from runmesh.resolver.store import Run, Store
from runmesh.resolver.tries import AGAIN, exhausted, hand_back
from runmesh.tracing import TRACING

_VERBS: Final = ("run", "cancel", "retry")
log = structlog.get_logger()


class Intake:
    """Turns request messages into runs."""

    def __init__(self, bus: Bus, planner: Planner, lanes: Lanes, presence: Presence) -> None:
        self._bus, self._store = bus, Store(bus)
        self._planner, self._lanes, self._presence = planner, lanes, presence
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    async def take(self, message: Message) -> None:
        """Handle one request; whatever it holds, the next one is not disturbed."""
        try:
            await self._take_or_bury(message)
        except (NotPermitted, NotProvisioned):
            raise
        except (BusError, TimeoutError) as error:
            log.warning("request is taken again", action="take", subject=message.subject, error=str(error))
            await message.nak(AGAIN)
        except Exception:
            log.exception("request can't even be refused", action="take", subject=message.subject)
            await hand_back([message])

    async def _take_or_bury(self, message: Message) -> None:
        try:
            await self._take(message)
        except Undecodable as error:
            await self._dead(message, "undecodable", error)
        except TooLarge as error:
            await self._dead(message, "too_large", error)
        except (BusError, TimeoutError):
            raise
        except Exception as error:
            log.exception("request failed", action="take", subject=message.subject)
            await self._poisoned(message, error)

    async def _take(self, message: Message) -> None:
        if not message.subject.startswith(subjects.ANY_REQUEST):
            raise Undecodable("no request's subject: it was delivered here on a detour")
        verb, project = subjects.request_address(message.subject)
        if message.deliveries == 1:
            metrics.requested(verb if verb in _VERBS else "unknown").inc()
        document = document_of(message)
        name = document.get("id" if verb == "run" else "run")
        if name is None:  # each such request is a run of its own
            await self._handle(verb, project, message, document)
            return
        async with self._in_order(str(name)):
            await self._handle(verb, project, message, document)

    async def _handle(self, verb: str, project: str, message: Message, document: Mapping[str, Any]) -> None:
        match verb:
            case "run":
                await self._run(project, message, document)
            case "cancel":
                await self._cancel(project, message)
            case "retry":
                await self._retry(project, message)
            case _:
                raise Undecodable(f"unknown request {verb!r}: known are run, cancel and retry")

    @asynccontextmanager
    async def _in_order(self, run: str) -> AsyncIterator[None]:
        """Take requests for the same run one after another, as they came: the first one counts."""
        lock = self._locks.setdefault(run, asyncio.Lock())
        self._waiting[run] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[run] -= 1
            if not self._waiting[run]:
                del self._locks[run], self._waiting[run]

    # --- run -----------------------------------------------------------------------------------

    async def _run(self, project: str, message: Message, document: Mapping[str, Any]) -> None:
        run, name = names_of(message, document)
        digest, now = digest_of(project, document), datetime.now(UTC)
        try:
            request = decode(RunRequest, message.headers, message.data)
            trace = trace_of(message.headers)
            plan = await self._planner.plan(project, request, run, digest=digest, trace=trace)
            await self._accept(plan, message, now)
        except Invalid as error:
            if await self._reject(run, project, name, error, message, digest):
                metrics.rejected(error)

    async def _accept(self, plan: Plan, message: Message, now: datetime) -> None:
        present = await self._presence.of(plan.pools)
        state = advance(plan, accept(plan, now=now), [present], now)
        try:
            await self._begin(plan, state, message)
        except TooLarge as error:
            problem = Problem("", f"the plan of {error.size} bytes exceeds the server's limit of {error.limit}")
            if await self._reject(plan.run, plan.project, plan.pipeline, Invalid(problem), message, plan.digest):
                metrics.rejected(error)

    async def _reject(
        self, run: str, project: str, pipeline: str, error: Invalid, message: Message, digest: str
    ) -> bool:
        """Store a rejection; return whether it is a new one: a request may come again, and does where NATS is full."""
        state = rejection(run, project, pipeline, error.problems, digest, datetime.now(UTC))
        return await self._begin(None, state.model_copy(update={"trace": trace_of(message.headers)}), message)

    async def _begin(self, plan: Plan | None, state: State, message: Message) -> bool:
        """Store a new run and acknowledge its request, unless the run is there already; return whether it is new."""
        try:
            run = await self._store.create(plan, state)
        except Conflict:
            await self._again(plan, state, message)
            return False
        TRACING.run_planned(run.caller, state.run, state.created_at, project=state.project, pipeline=state.pipeline)
        await self._go_on(run, message)
        return True

    async def _go_on(self, run: Run, message: Message) -> None:
        if run.state.final:
            await self._pay(run, message)
            return
        await message.ack()
        await self._lanes.begin(run)
        if run.state.admitted:
            metrics.TO_EXECUTE.observe(max(0.0, (datetime.now(UTC) - message.at).total_seconds()))

    async def _pay(self, run: Run, message: Message) -> None:
        """Publish the end of a run that never began, then acknowledge: nothing else would publish it."""
        left = await self._store.publish_owed(run)
        await (message.nak(AGAIN) if left else message.ack())

    async def _again(self, plan: Plan | None, state: State, message: Message) -> None:
        """Answer a request whose id is taken: the same one again, a cancelled one, or another one."""
        known = await self._store.load(state.run)
        if known is None:
            raise BusError(f"run {state.run} vanished")
        if known.state.digest == state.digest:
            if not known.state.final:
                if known.plan is None and plan is None:
                    # Its plan was lost, and can't be made again: it never began, and never will.
                    await self._pay(await self._store.swap(known, state), message)
                    return
                if known.plan is None:
                    known = replace(known, plan=plan)
                    await self._store.repair(known)
                await self._store.activate(state.run)
            await self._go_on(known, message)
        elif _cancelled_before(known.state, state.project):
            await self._pay(await self._store.swap(known, _cancelled(state, known.state)), message)
        else:
            await self._dead(message, "id_conflict", taken(known.state, state.project))

    # --- cancel --------------------------------------------------------------------------------

    async def _cancel(self, project: str, message: Message) -> None:
        try:
            request = decode(CancelRequest, message.headers, message.data)
        except Invalid as error:
            await self._dead(message, "invalid", error)
            return
        known = await self._store.load(request.run)
        if known is None:
            await self._cancel_before(project, request, message)
        elif known.state.project != project:
            await self._dead(message, "wrong_project", f"run {request.run!r} is not of project {project!r}")
        else:
            await self._stop(known, request, message)

    async def _stop(self, known: Run, request: CancelRequest, message: Message) -> None:
        try:
            if known.plan:
                check_stoppable(known.plan, known.state, request)
        except Invalid as error:
            await self._dead(message, "invalid", error)
        else:
            self._lanes.give(request.run, Cancel(request.blocks, request.reason), message)

    async def _cancel_before(self, project: str, request: CancelRequest, message: Message) -> None:
        """Note the cancel of a run that nobody requested yet: planning finds it."""
        if request.blocks is not None:
            await self._dead(message, "unknown_run", f"run {request.run!r} is not known")
            return
        now = datetime.now(UTC)
        placeholder = State(
            run=request.run,
            project=project,
            state=RunState.CANCELLED,
            reason=request.reason or "cancelled before it was requested",
            created_at=now,
            ended_at=now,
        )
        try:
            await self._store.create(None, placeholder)
        except Conflict:
            await message.nak()
        else:
            await message.ack()

    # --- retry ---------------------------------------------------------------------------------

    async def _retry(self, project: str, message: Message) -> None:
        try:
            request = decode(RetryRequest, message.headers, message.data)
        except Invalid as error:
            await self._dead(message, "invalid", error)
            return
        run = request.id or derived_id(message)
        digest, now = digest_of(project, request.model_dump(mode="json", exclude_none=True)), datetime.now(UTC)
        pipeline = "_unknown"
        try:
            known = await self._known(project, request.run)
            pipeline = known.state.pipeline or pipeline
            before = repeatable(known.plan, known.state, request)
            again = before.request.model_copy(update={"id": None, "execution_partition": before.execution_partition})
            plan = await self._planner.plan(project, again, run, digest=digest, trace=trace_of(message.headers))
            await self._accept(carry(plan, before, known.state, request.blocks or ()), message, now)
        except Invalid as error:
            if await self._reject(run, project, pipeline, error, message, digest):
                metrics.rejected(error)

    async def _known(self, project: str, run: str) -> Run:
        known = await self._store.load(run)
        if known is None or known.state.project != project:
            raise Invalid(Problem("run", f"project {project!r} has no run {run!r}"))
        return known

    # --- what can't be handled -----------------------------------------------------------------

    async def _dead(self, message: Message, reason: str, error: object) -> None:
        await lay_to_rest(self._bus, message, service="resolver", reason=reason, error=str(error))

    async def _poisoned(self, message: Message, error: Exception) -> None:
        """Give a request that breaks the resolver three tries; then it is dead, and its run rejected."""
        if not exhausted(message):
            await message.nak(AGAIN)
            return
        verb, project = subjects.request_address(message.subject)
        if verb == "cancel":
            await self._dead(message, "poison", repr(error))
            return
        await bury(self._bus, message, service="resolver", reason="poison", error=repr(error))
        document = document_of(message)
        run, pipeline = names_of(message, document)
        problem = Problem("", f"the resolver failed on this request: {error!r}"[:2000], "see the dead letter")
        if await self._reject(run, project, pipeline, Invalid(problem), message, digest_of(project, document)):
            metrics.rejected(error)


def _cancelled_before(state: State, project: str) -> bool:
    return state.state is RunState.CANCELLED and not state.digest and state.project == project


def _cancelled(requested: State, placeholder: State) -> State:
    """Return the end of a run whose cancel came before its request."""
    debt = Debt(kind="run", run_state=RunState.CANCELLED, at=datetime.now(UTC), reason=placeholder.reason)
    return placeholder.model_copy(
        update={"pipeline": requested.pipeline, "digest": requested.digest, "outbox": (debt,)}
    )

"""The resolver's side of the `runs` bucket, and the publishing of what runs owe."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from runmesh import metrics, subjects
from runmesh.bus import Bus, Stored
from runmesh.claims import Stop
from runmesh.cloudevents import headers_for
from runmesh.errors import BusError, Conflict, NotPermitted, NotProvisioned, Unreachable
from runmesh.events import ATTEMPT, FINAL_RUN_STATES, RESUBMISSION, ExecuteTask, RunFact, TaskFact
from runmesh.resolver.owed import Owed, command, owed, stopping_keys
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import Debt, State
from runmesh.retelling import is_told
from runmesh.tracing import TRACING

SOURCE: Final = "/runmesh/resolver"
_MOST_PATHS: Final = 20
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is stored; without a plan if it was rejected, or cancelled before it was requested."""

    plan: Plan | None
    state: State
    revision: int

    @property
    def caller(self) -> Mapping[str, str]:
        """The trace headers of the request."""
        return self.plan.trace if self.plan else self.state.trace

    @property
    def trace(self) -> Mapping[str, str]:
        """The trace headers of all that follows from it."""
        return TRACING.of_run(self.caller, self.state.run, self.state.created_at)


class Store:
    """Reads and writes runs by compare-and-swap, and publishes what they owe."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._runs = bus.bucket(subjects.RUNS)
        self._unsure: set[str] = set()
        """Run facts that were sent, and whose answer was lost: those that turn out to be there are ours."""

    async def load(self, run: str) -> Run | None:
        """Read a run, or None if there is none. A plan that belongs to another request is none of the run's."""
        state, plan = await asyncio.gather(
            self._runs.get(subjects.run_state(run)), self._runs.get(subjects.run_plan(run))
        )
        if state is None:
            return None
        found = Run(Plan.decode(plan.value) if plan else None, State.decode(state.value), state.revision)
        return replace(found, plan=None) if found.plan and found.plan.digest != found.state.digest else found

    async def create(self, plan: Plan | None, state: State) -> Run:
        """Accept (or reject) a run: the creation of its state, after its plan, is the arbiter.

        All is sent at once: one stream stores it in this order. Raises `Conflict` if the run is there, `TooLarge`.
        """
        planned = self._runs.post(subjects.run_plan(state.run), plan.encode(), revision=0) if plan else None
        if planned and planned.done():
            await planned
        created = self._runs.post(subjects.run_state(state.run), state.encode(), revision=0)
        activated = None if state.final else self._runs.post(subjects.active(state.run), b"")
        answers = await _answers([sent for sent in (created, planned, activated) if sent])
        if isinstance(answers[0], BaseException):
            raise answers[0]
        run = Run(plan, state, await created)
        if any(isinstance(answer, Conflict) for answer in answers):
            await self.repair(run)
        elif failed := [answer for answer in answers if isinstance(answer, BaseException)]:
            raise failed[0]
        return run

    async def repair(self, run: Run) -> None:
        """Write the plan that belongs to a run's state, where one that was never accepted lies in its place."""
        if run.plan is not None:
            await self._runs.put(subjects.run_plan(run.state.run), run.plan.encode())

    async def activate(self, run: str) -> None:
        """Let the sweep see a run (again)."""
        await self._runs.put(subjects.active(run), b"")

    async def swap(self, run: Run, state: State) -> Run:
        """Write the next state of a run. Raises `Conflict` if another replica was first."""
        revision = await self._runs.update(subjects.run_state(state.run), state.encode(), run.revision)
        return Run(run.plan, state, revision)

    async def retire(self, run: str) -> None:
        """Take an ended run, that owes nothing, out of the sweep's sight."""
        await self._runs.drop(subjects.active(run))

    async def retire_orphan(self, run: str) -> bool:
        """Do so where there is no such run; unless it is being created at this moment."""
        entry = await self._runs.get(subjects.active(run))
        if entry is None or await self._runs.get(subjects.run_state(run)) is not None:
            return False
        try:
            # Whoever creates the run writes this key after the state: then it has another revision.
            await self._runs.delete(subjects.active(run), entry.revision)
        except Conflict:
            return False
        return True

    async def is_active(self, run: str) -> bool:
        """Say whether a run has not ended, or may owe something still."""
        return await self._runs.get(subjects.active(run)) is not None

    async def active(self) -> set[str]:
        """List the runs that have not ended, or still owe something; and some of which neither is so any more."""
        return await self._runs.named(subjects.active(""))

    async def publish_owed(self, run: Run) -> tuple[Debt, ...]:
        """Publish what a run owes; return what it owes still: what is refused for now (a full stream, no answer).

        Raises `NotPermitted` and `NotProvisioned`.
        """
        trace = run.trace  # the same for all: it costs a digest where spans are told
        due = [
            item
            for item in owed(run.plan, run.state)
            if not (isinstance(item.event, TaskFact) and await self._is_told(run, item.event))
        ]
        left = []
        answers = await _answers([self._post(run, item, trace) for item in due])
        for item, answer in zip(due, answers, strict=True):
            if not isinstance(answer, BusError) or self._was_ours(item, answer):
                self._told(run, item.event, answer)
            elif not await self._is_there(run.state.run, item, answer):
                left.append(item.debt)
        return tuple(left)

    async def republish(self, plan: Plan, state: State, ended: Collection[str]) -> None:
        """Give the orders for what is out again: the commands (refused while one is queued or held), and the stop.

        A command that is still owed is left to `publish_owed`, behind the facts that come before it.
        """
        out = {block: task for block, task in state.out().items() if block not in ended}
        owing = {debt.block for debt in state.outbox if debt.kind == "execute"}
        due = ((name, task) for name, task in out.items() if name not in owing)
        commands = (command(plan, state, name, task.attempt, task.resubmission) for name, task in due)
        trace = TRACING.of_run(plan.trace, plan.run, state.created_at)
        posts: list[asyncio.Future[Any]] = [self._post_event(each, plan.project, trace) for each in commands]
        if state.stopping and out:
            # An older one, of a replica that was slow, may have taken its place.
            stop = Stop(keys=stopping_keys(plan, state), reason=state.reason)
            posts.append(self._runs.post(subjects.cancelling(state.run), stop.encode()))
        for answer in await asyncio.gather(*posts, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Conflict):
                log.warning("order not given again", action="sweep", run=plan.run, error=str(answer))

    def _post(self, run: Run, item: Owed, trace: Mapping[str, str]) -> asyncio.Future[Stored] | asyncio.Future[int]:
        if isinstance(item.event, Stop):
            return self._runs.post(subjects.cancelling(run.state.run), item.event.encode())
        return self._post_event(item.event, run.state.project, trace)

    def _post_event(
        self, event: ExecuteTask | TaskFact | RunFact, project: str, trace: Mapping[str, str]
    ) -> asyncio.Future[Stored]:
        last_sequence: int | None = 0
        match event:
            case ExecuteTask():
                event_id, subject = event.key, _command_subject(event)
            case TaskFact():
                event_id, subject, last_sequence = event.ce_id, fact_subject(project, event), None
            case RunFact():
                event_id = event.ce_id
                subject = subjects.run_fact(event.state, event.project, event.pipeline, event.run)
        headers = headers_for(event, event_id=event_id, source=SOURCE, trace=trace)
        if isinstance(event, ExecuteTask) and (event.attempt, event.resubmission) != (1, 0):
            headers |= {ATTEMPT: str(event.attempt), RESUBMISSION: str(event.resubmission)}
        message_id = event_id if last_sequence is None else None
        return self._bus.post(
            subject, event.to_json(), headers=headers, message_id=message_id, last_sequence=last_sequence
        )

    async def _is_told(self, run: Run, fact: TaskFact) -> bool:
        return await is_told(self._bus, fact_subject(run.state.project, fact), fact)

    def _told(self, run: Run, event: ExecuteTask | TaskFact | RunFact | Stop, answer: Any) -> None:
        """Count what is stored, by us."""
        _count(run, event, answer)
        if self._unsure:
            self._unsure.discard(getattr(event, "ce_id", ""))
        if isinstance(event, RunFact) and event.state in FINAL_RUN_STATES:
            _log_end(run, event)

    def _was_ours(self, item: Owed, refusal: BusError) -> bool:
        """Say whether a fact that is there is one of which nobody else tells, because it was us who stored it."""
        if not isinstance(item.event, RunFact):
            return False
        if isinstance(refusal, Unreachable):
            self._unsure.add(item.event.ce_id)
        return isinstance(refusal, Conflict) and item.event.ce_id in self._unsure

    async def _is_there(self, run: str, item: Owed, refusal: BusError) -> bool:
        """Say whether a refusal means that it was stored before."""
        match refusal:
            case Conflict():
                return not isinstance(item.event, ExecuteTask) or await self._is_queued(item.event)
            case NotPermitted() | NotProvisioned():
                raise refusal
        metrics.UNPAID.inc()
        executor = getattr(item.event, "executor_type", None)
        debt = {"kind": item.debt.kind, "block": item.debt.block, "executor": executor}
        log.warning("still owed", action="publish", run=run, **debt, error=str(refusal))
        return False

    async def _is_queued(self, command: ExecuteTask) -> bool:
        """Tell our own command from the one of the attempt before, which may not be acknowledged yet."""
        stream = subjects.execute_stream(command.executor_type)
        last = await self._bus.last(stream, _command_subject(command))
        return last is not None and last.headers.get("ce-id") == command.key


def _count(run: Run, told: ExecuteTask | TaskFact | RunFact | Stop, stored: Any) -> None:
    match told:
        case RunFact():
            project = told.project if run.plan and run.plan.revision else ""  # else it is whatever somebody wrote
            metrics.run_told(project, told.state)
            if run.plan and told.state in FINAL_RUN_STATES:
                metrics.run_ended(project, (told.at - run.state.created_at).total_seconds())
        case TaskFact() if not stored.duplicate:
            metrics.task_told(told)


def _log_end(run: Run, fact: RunFact) -> None:
    """Log a run's outcome, once: its fact was not there before. Not the reason: that may quote what is secret."""
    paths = [problem.path for problem in fact.errors or ()][:_MOST_PATHS]
    log.info(
        "run ended",
        action="end",
        run=fact.run,
        project=fact.project,
        pipeline=fact.pipeline,
        state=fact.state,
        **{"wrong": paths} if paths else {},
    )
    TRACING.run_ended(fact, run.caller, run.state.created_at)


async def _answers(sent: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """Wait for what was sent at once: one after another costs less than `gather` on the hottest path there is.

    The last one first: when it is there, the others mostly are, and nobody has to be woken for each.
    """
    answers = []
    for answer in reversed(sent):
        try:
            answers.append(await answer)
        except BusError as error:
            answers.append(error.with_traceback(None))  # it leads to this very list
    return answers[::-1]


def _command_subject(command: ExecuteTask) -> str:
    return subjects.execute(command.executor_type, command.pool, command.project, command.run, command.block)


def fact_subject(project: str, fact: TaskFact) -> str:
    """Return the subject of a task's fact."""
    return subjects.task_fact(fact.state, fact.executor_type, fact.pool, project, fact.run, fact.block)

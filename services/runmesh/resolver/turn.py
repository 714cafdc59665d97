"""One turn of a run: a working copy of its state, that takes what happened and then settles."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from runmesh.events import REPORTED_TASK_STATES, Cause, RunState, TaskFact, TaskState
from runmesh.resolver.budgets import another_try
from runmesh.resolver.happened import Admitted, Broken, Cancel, Claimed, NoRoom, Present, RunEvent
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import Debt, State, TaskRecord
from runmesh.subjects import task_key

_LONGEST_REASON: Final = 1000
"""Characters: a state has room for the reasons of many tasks, and the facts hold them whole."""
ENDING: Final = frozenset({RunState.FAILING, RunState.CANCELLING})


class Turn:
    """One turn: a working copy of the state."""

    def __init__(self, plan: Plan, state: State, now: datetime) -> None:
        self.plan, self.before, self.now = plan, state, now
        self.tasks = dict(state.tasks)
        self.run_state, self.reason = state.state, state.reason
        self.stopping, self.admitted = state.stopping, state.admitted
        self.outbox = list(state.outbox)
        self.absent: frozenset[tuple[str, str]] = frozenset()

    def result(self) -> State:
        """Return the state after the turn; the very same object if nothing changed."""
        changes = {
            "tasks": self.tasks,
            "state": self.run_state,
            "reason": self.reason,
            "stopping": self.stopping,
            "admitted": self.admitted,
            "outbox": tuple(self.outbox),
        }
        changed = {name: value for name, value in changes.items() if value != getattr(self.before, name)}
        if not changed:
            return self.before
        after = self.before.model_copy(update=changed)
        return after.model_copy(update={"ended_at": self.now}) if after.final and not self.before.final else after

    # --- what happened -------------------------------------------------------------------------

    def take(self, event: RunEvent) -> None:
        """Let one thing happen; what comes too late changes nothing."""
        if self.before.final:
            return
        match event:
            case TaskFact():
                self._report(event)
            case Cancel(blocks, reason):
                self._cancel(blocks, reason)
            case Claimed(block, key):
                self._claimed(block, key)
            case Present(pools):
                self._present(pools)
            case Admitted() | NoRoom():
                self._gate(event)
            case Broken(reason):
                self._break(reason)

    def _report(self, fact: TaskFact) -> None:
        record = self.tasks.get(fact.block)
        if record is None or record.state is not TaskState.QUEUED or fact.key != self._key(fact.block, record):
            return
        if fact.late or fact.state not in REPORTED_TASK_STATES:
            return
        self._forget_command(fact)
        if fact.state is TaskState.FAILED and self.run_state not in ENDING and self._again(fact, record):
            return
        self._end(fact.block, record, fact.state, fact.cause)
        if fact.state is TaskState.FAILED:
            self._failed(fact)

    def _forget_command(self, fact: TaskFact) -> None:
        """Owe no command whose task has ended: whoever ended it had it, whether this replica knows that or not."""
        submission = (fact.block, fact.attempt, fact.resubmission)
        self.outbox = [
            debt
            for debt in self.outbox
            if debt.kind != "execute" or (debt.block, debt.attempt, debt.resubmission) != submission
        ]

    def _again(self, fact: TaskFact, record: TaskRecord) -> bool:
        """Put a failed task back if its cause leaves it another try; what was stopped by name gets none."""
        if fact.block in self.stopping:
            return False
        again = another_try(self.plan, record, fact)
        if again is None:
            return False
        delay, record = again
        due_at = self.now + timedelta(seconds=delay)
        self.tasks[fact.block] = record.model_copy(
            update={"state": TaskState.RETRYING, "due_at": due_at, "since": None, "claimed": False}
        )
        self.outbox.append(
            Debt(
                kind="task",
                at=self.now,
                block=fact.block,
                state=TaskState.RETRYING,
                attempt=fact.attempt,
                resubmission=fact.resubmission,
                n=fact.n + 1,
                cause=fact.cause,
                reason=_short(fact.reason),
                due_at=due_at,
            )
        )
        return True

    def _failed(self, fact: TaskFact) -> None:
        if not self.plan.request.allow_blocks_to_fail and self.run_state not in ENDING:
            because = f": {fact.reason}" if fact.reason else ""
            self._turn_to(RunState.FAILING, f"block {fact.block!r} failed ({fact.cause or Cause.USER}){because}")

    def _cancel(self, blocks: tuple[str, ...] | None, reason: str | None) -> None:
        if blocks is None:
            if self.run_state not in ENDING:
                self._turn_to(RunState.CANCELLING, reason or "cancelled")
            return
        known = [block for block in dict.fromkeys(blocks) if block in self.plan.tasks and not self._final(block)]
        for block in known:
            if not self._out(block):
                self._end(block, self.tasks.get(block), TaskState.CANCELLED, Cause.CANCELLED, tell=True)
        out = tuple(block for block in known if self._out(block) and block not in self.stopping)
        if out and self.stopping != "all":
            self.stopping = (*self.stopping, *out)
            self.outbox.append(Debt(kind="stop", at=self.now, n=len(self.stopping), reason=reason))

    def _claimed(self, block: str, key: str) -> None:
        record = self.tasks.get(block)
        if record and record.state is TaskState.QUEUED and key == self._key(block, record):
            self.tasks[block] = record.model_copy(update={"claimed": True})

    def _present(self, pools: frozenset[tuple[str, str]]) -> None:
        """Say once, for every queued task without a worker, that it waits."""
        self.absent = self.plan.pools - pools
        for block, record in self.tasks.items() if self.absent else ():
            reason = self._waiting(block)
            if record.state is TaskState.QUEUED and reason and not record.claimed and not record.waiting:
                self.tasks[block] = record.model_copy(update={"waiting": True})
                self._owe_task(block, record, TaskState.QUEUED, n=1, reason=reason)

    def _waiting(self, block: str) -> str | None:
        task = self.plan.tasks[block]
        if (task.executor_type, task.pool) not in self.absent:
            return None
        return f"waiting: no {task.executor_type} worker of pool {task.pool!r} has reported"

    def _break(self, reason: str) -> None:
        if self.run_state not in ENDING:
            self._turn_to(RunState.FAILING, reason)

    def _gate(self, event: Admitted | NoRoom) -> None:
        """Let the run begin, or wait, or give it up; what comes too late changes nothing."""
        if self.admitted or self.run_state is not RunState.ACCEPTED:
            return
        if isinstance(event, Admitted):
            self.admitted, self.reason = True, None
        elif self.plan.limits and self.plan.limits.skip:
            self._turn_to(RunState.CANCELLING, f"skipped: {event.reason}")
        elif self.reason is None:
            self._wait(f"waiting: {event.reason}")

    def _wait(self, reason: str) -> None:
        """Say once why the run does not begin: with the fact that it is accepted, if that is not told yet."""
        self.reason = _short(reason)
        self.outbox = [
            debt.model_copy(update={"reason": self.reason}) if debt.run_state is RunState.ACCEPTED else debt
            for debt in self.outbox
        ]

    def _check_deadline(self) -> None:
        if self.before.deadline and self.now >= self.before.deadline and self.run_state not in ENDING:
            self._turn_to(RunState.FAILING, f"the run exceeded its timeout of {self.plan.request.timeout:g} s")

    # --- what follows --------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring the run to rest: nothing more follows until the next event."""
        if self.before.final:
            return
        self._check_deadline()
        self._spread_failure()
        if self.run_state in ENDING:
            self._stop_everything()
        elif self.admitted:
            self._dispatch()
        if all(self._final(block) for block in self.plan.tasks):
            self._finish()

    def _spread_failure(self) -> None:
        """Give up what is below a task that ended without completing."""
        broken = [
            block for block, record in self.tasks.items() if record.final and record.state is not TaskState.COMPLETED
        ]
        while broken:
            for block in self.plan.downstream[broken.pop()]:
                if block not in self.tasks:
                    self._end(block, None, TaskState.UPSTREAM_FAILED, None, tell=True)
                    broken.append(block)

    def _stop_everything(self) -> None:
        for block in self.plan.tasks:
            if not self._final(block) and not self._out(block):
                self._end(block, self.tasks.get(block), TaskState.CANCELLED, Cause.CANCELLED, tell=True)
        if self.stopping != "all" and any(self._out(block) for block in self.plan.tasks):
            self.stopping = "all"
            self.outbox.append(Debt(kind="stop", at=self.now, reason=self.reason))

    def _dispatch(self) -> None:
        free = self.plan.max_in_flight - sum(record.state is TaskState.QUEUED for record in self.tasks.values())
        for block in self._ready():
            if free <= 0:
                break
            free -= 1
            self._send(block)

    def _ready(self) -> Sequence[str]:
        due = [block for block, record in self.tasks.items() if record.due_at and record.due_at <= self.now]
        completed = {block for block, record in self.tasks.items() if record.state is TaskState.COMPLETED}
        fresh = [
            block
            for block, task in self.plan.tasks.items()
            if block not in self.tasks and completed.issuperset(task.upstream)
        ]
        return due + fresh

    def _send(self, block: str) -> None:
        waiting = self._waiting(block)
        queued = {"state": TaskState.QUEUED, "since": self.now, "due_at": None, "waiting": waiting is not None}
        before = self.tasks.get(block)
        record = self.tasks[block] = before.model_copy(update=queued) if before else TaskRecord.model_validate(queued)
        if self.run_state is RunState.ACCEPTED:
            self._turn_to(RunState.RUNNING, waiting)
        self._owe_task(block, record, TaskState.QUEUED, reason=waiting)
        self.outbox.append(
            Debt(kind="execute", at=self.now, block=block, attempt=record.attempt, resubmission=record.resubmission)
        )

    def _finish(self) -> None:
        states = {self.tasks[block].state for block in self.plan.tasks}
        if states <= {TaskState.COMPLETED}:
            self._turn_to(RunState.COMPLETED, None)
        elif self.run_state is RunState.CANCELLING:
            self._turn_to(RunState.CANCELLED, self.reason)
        elif self.run_state is RunState.FAILING or states & {TaskState.FAILED, TaskState.UPSTREAM_FAILED}:
            self._turn_to(RunState.FAILED, self.reason or self._why_failed())
        else:
            self._turn_to(RunState.CANCELLED, self.reason)

    def _why_failed(self) -> str:
        failed = [block for block in self.plan.tasks if self.tasks[block].state is TaskState.FAILED]
        return f"failed: {', '.join(failed[:5])}{', …' if len(failed) > 5 else ''}" if failed else "upstream cancelled"  # noqa: PLR2004 - a line's worth

    # --- small change --------------------------------------------------------------------------

    def _turn_to(self, state: RunState, reason: str | None) -> None:
        self.run_state, self.reason = state, _short(reason)
        self.outbox.append(Debt(kind="run", run_state=state, at=self.now, reason=self.reason))

    def _end(
        self, block: str, record: TaskRecord | None, state: TaskState, cause: Cause | None, *, tell: bool = False
    ) -> None:
        """Make a task final; `tell` where no worker reports it."""
        record = record or TaskRecord(state=state, attempt=0)
        self.tasks[block] = record.model_copy(
            update={"state": state, "cause": cause, "due_at": None, "since": None, "claimed": False}
        )
        if tell:
            self._owe_task(block, record, state, n=1, cause=cause)

    def _owe_task(
        self,
        block: str,
        record: TaskRecord,
        state: TaskState,
        *,
        n: int = 0,
        cause: Cause | None = None,
        reason: str | None = None,
    ) -> None:
        self.outbox.append(
            Debt(
                kind="task",
                at=self.now,
                block=block,
                state=state,
                attempt=record.attempt,
                resubmission=record.resubmission,
                n=n,
                cause=cause,
                reason=reason,
            )
        )

    def _key(self, block: str, record: TaskRecord) -> str:
        return task_key(self.plan.run, block, record.attempt, record.resubmission)

    def _out(self, block: str) -> bool:
        record = self.tasks.get(block)
        return record is not None and record.state is TaskState.QUEUED

    def _final(self, block: str) -> bool:
        record = self.tasks.get(block)
        return record is not None and record.final


def _short(reason: str | None) -> str | None:
    return reason if reason is None or len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"

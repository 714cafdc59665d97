"""One turn of a run: a working copy of its state, and the few changes that everything else is made of.

What happened is let in by `taking`, what follows from it is done by `settling` and, for the children of dynamic
blocks, by `children`.
"""

from datetime import datetime
from typing import Any, Final, Literal

from runmesh.events import Cause, RunState, TaskState
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import Debt, State, TaskRecord
from runmesh.subjects import CALLBACK, block_of, task_key

_LONGEST_REASON: Final = 1000
"""Characters: a state has room for the reasons of many tasks, and the facts hold them whole."""
ENDING: Final = frozenset({RunState.FAILING, RunState.CANCELLING})


class Turn:
    """One turn: a working copy of the state."""

    def __init__(self, plan: Plan, state: State, now: datetime) -> None:
        self.plan, self.before, self.now = plan, state, now
        self.tasks = dict(state.tasks)
        self.fans, self.items = dict(state.fans), dict(state.items)
        self.run_state, self.reason = state.state, state.reason
        self.stopping, self.admitted = state.stopping, state.admitted
        self.outbox = list(state.outbox)
        self.absent: frozenset[tuple[str, str]] = frozenset()

    def result(self) -> State:
        """Return the state after the turn; the very same object if nothing changed."""
        changes = {
            "tasks": self.tasks,
            "fans": self.fans,
            "items": self.items,
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

    # --- what is so ----------------------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """Nothing more is begun, and what runs is stopped."""
        return self.run_state in ENDING

    def key(self, name: str, record: TaskRecord) -> str:
        """Return the key of a task's submission."""
        return task_key(self.plan.run, name, record.attempt, record.resubmission)

    def out(self, name: str) -> bool:
        """Say whether a task is dispatched and not reported back."""
        record = self.tasks.get(name)
        return record is not None and record.state is TaskState.QUEUED

    def final(self, name: str) -> bool:
        """Say whether a task has ended."""
        record = self.tasks.get(name)
        return record is not None and record.final

    def completed(self, name: str) -> bool:
        """Say whether it ended well."""
        record = self.tasks.get(name)
        return record is not None and record.state is TaskState.COMPLETED

    def waiting(self, name: str) -> str | None:
        """Say why a task waits in its queue, if there is nobody to take it."""
        task = self.plan.task(name)
        if (task.executor_type, task.pool) not in self.absent:
            return None
        return f"waiting: no {task.executor_type} worker of pool {task.pool!r} has reported"

    # --- what changes --------------------------------------------------------------------------

    def turn_to(self, state: RunState, reason: str | None) -> None:
        """Bring the run into another state, and owe the fact."""
        self.run_state, self.reason = state, short(reason)
        self.outbox.append(Debt(kind="run", run_state=state, at=self.now, reason=self.reason))

    def fail(self, reason: str) -> None:
        """Let the run fail, unless it may, or is ending already."""
        if not self.plan.request.allow_blocks_to_fail and not self.ending:
            self.turn_to(RunState.FAILING, reason)

    def send(self, name: str, index: int | None = None) -> None:
        """Dispatch a task: for the first time, or again."""
        waiting = self.waiting(name)
        queued: dict[str, Any] = {"state": TaskState.QUEUED, "since": self.now, "waiting": waiting is not None}
        before = self.tasks.get(name)
        again = before and before.model_copy(update={**queued, "due_at": None})
        record = self.tasks[name] = again or TaskRecord(**queued, index=index)
        if self.run_state is RunState.ACCEPTED:
            self.turn_to(RunState.RUNNING, waiting)
            self.reason = None  # told with that fact: what ends the run has a reason of its own
        self.owe_task(name, record, TaskState.QUEUED, reason=waiting)
        self.outbox.append(
            Debt(kind="execute", at=self.now, block=name, attempt=record.attempt, resubmission=record.resubmission)
        )

    def end(self, name: str, state: TaskState, cause: Cause | None = None, reason: str | None = None) -> None:
        """Make a task final whose end no worker reports, and owe the fact."""
        record = self.tasks.get(name) or TaskRecord(state=state, attempt=0)
        self.note_end(name, record, state, cause)
        self.owe_task(name, record, state, n=1, cause=cause, reason=short(reason))

    def stop(self, name: str) -> None:
        """Cancel a task that is not out; the callbacks of one that was out before are run."""
        record = self.tasks.get(name)
        self.end(name, TaskState.CANCELLED, Cause.CANCELLED)
        if record is not None:
            self.call_back(name, record, "cancelled", "cancelled")

    def note_end(self, name: str, record: TaskRecord, state: TaskState, cause: Cause | None) -> None:
        """Make a task final. Of a child only its bit remains."""
        if record.index is None or record.callback:
            ended = {"state": state, "cause": cause, "due_at": None, "since": None, "claimed": False, "reason": None}
            self.tasks[name] = record.model_copy(update=ended)
            return
        block = block_of(name)
        fan = self.fans[block].end(state, 1 << record.index, cause if state is TaskState.FAILED else None)
        self.fans[block] = fan.tried(record.index, record.attempt, record.resubmission)
        del self.tasks[name]

    def call_back(self, name: str, record: TaskRecord, status: Literal["failure", "cancelled"], reason: str) -> None:
        """Have the block's callbacks run as a task of their own, where it has such, as soon as there is room for it."""
        if status not in self.plan.task(name).callbacks or record.callback:
            return
        waiting = {"state": TaskState.RETRYING, "due_at": self.now}
        self.tasks[f"{CALLBACK}{name}"] = TaskRecord(
            **waiting, index=record.index, callback=status, reason=short(reason)
        )

    def owe_task(self, name: str, record: TaskRecord, state: TaskState, **details: Any) -> None:
        """Owe a fact about a task; `details` are more fields of the debt."""
        submission = {"block": name, "attempt": record.attempt, "resubmission": record.resubmission}
        self.outbox.append(Debt(kind="task", at=self.now, state=state, **submission, **details))


def short(reason: str | None) -> str | None:
    """Cut a reason to what a state has room for."""
    return reason if reason is None or len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"

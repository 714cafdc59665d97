"""What happened to a run, let into its turn: what comes too late changes nothing."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from runmesh.events import REPORTED_TASK_STATES, Cause, RunState, TaskFact, TaskState
from runmesh.resolver import children
from runmesh.resolver.budgets import another_try
from runmesh.resolver.fan import Items
from runmesh.resolver.happened import Admitted, Broken, Cancel, Claimed, NoRoom, Present, RunEvent, Unclaimed
from runmesh.resolver.state import Debt, TaskRecord
from runmesh.resolver.turn import Turn, short

_USER_EXIT: Final = 1
_USAGE_EXIT: Final = 2
"""Exit codes with which our runtime, and Mage's, end by themselves."""

_NO_ITEMS: Final = "it completed, but its outcome doesn't say in a way that makes sense how many items it returned"


def take(turn: Turn, event: RunEvent) -> None:
    """Let one thing happen."""
    if turn.before.final:
        return
    match event:
        case TaskFact():
            _report(turn, event)
        case Cancel(blocks, reason):
            _cancel(turn, blocks, reason)
        case Claimed(block, key) | Unclaimed(block, key):
            _note_claim(turn, block, key, claimed=isinstance(event, Claimed))
        case Present(pools):
            _present(turn, pools)
        case Admitted() | NoRoom():
            _gate(turn, event)
        case Broken(reason):
            _break(turn, reason)


def _report(turn: Turn, fact: TaskFact) -> None:
    record = turn.tasks.get(fact.block)
    if record is None or record.state is not TaskState.QUEUED or fact.key != turn.key(fact.block, record):
        return
    if fact.late or fact.state not in REPORTED_TASK_STATES:
        return
    _forget_command(turn, fact)
    if fact.state is TaskState.FAILED and (record.callback or not turn.ending) and _again(turn, fact, record):
        return
    fact = _note_items(turn, fact)
    turn.note_end(fact.block, record, fact.state, fact.cause)
    if record.callback:
        return
    _call_back(turn, fact, record)
    if fact.state is TaskState.FAILED:
        because = f": {fact.reason}" if fact.reason else ""
        turn.fail(f"block {fact.block!r} failed ({fact.cause or Cause.USER}){because}")


def _forget_command(turn: Turn, fact: TaskFact) -> None:
    """Owe no command whose task has ended: whoever ended it had it, whether this replica knows that or not."""
    submission = (fact.block, fact.attempt, fact.resubmission)
    turn.outbox = [
        debt
        for debt in turn.outbox
        if debt.kind != "execute" or (debt.block, debt.attempt, debt.resubmission) != submission
    ]


def _again(turn: Turn, fact: TaskFact, record: TaskRecord) -> bool:
    """Put a failed task back if its cause leaves it another try; what was stopped by name gets none."""
    if fact.block in turn.stopping:
        return False
    again = another_try(turn.plan, record, fact)
    if again is None:
        return False
    delay, following = again
    due_at = turn.now + timedelta(seconds=delay)
    turn.tasks[fact.block] = following.model_copy(
        update={"state": TaskState.RETRYING, "due_at": due_at, "since": None, "claimed": False}
    )
    details = {"n": fact.n + 1, "cause": fact.cause, "reason": short(fact.reason), "due_at": due_at}
    turn.owe_task(fact.block, record, TaskState.RETRYING, **details)
    return True


def _note_items(turn: Turn, fact: TaskFact) -> TaskFact:
    """Note what a dynamic block returned. Where nobody can know its children from that, it has failed."""
    if fact.state is not TaskState.COMPLETED or not turn.plan.task(fact.block).dynamic:
        return fact
    items = _items(fact.outcome or {})
    problem = children.too_long(turn, items.names) if items else _NO_ITEMS
    if items is None or problem:
        return fact.model_copy(update={"state": TaskState.FAILED, "cause": Cause.CONFIG, "reason": problem})
    turn.items[fact.block] = items
    return fact


def _items(outcome: Mapping[str, Any]) -> Items | None:
    try:
        return Items.model_validate(outcome["children"])
    except (LookupError, ValueError):
        return None


def _call_back(turn: Turn, fact: TaskFact, record: TaskRecord) -> None:
    """Run the callbacks that the job itself could not run: it never started, or was killed."""
    statuses: dict[TaskState, Literal["failure", "cancelled"]] = {
        TaskState.FAILED: "failure",
        TaskState.CANCELLED: "cancelled",
    }
    if fact.state not in statuses:
        return
    status = statuses[fact.state]
    done = (fact.outcome or {}).get("callbacks")
    ran = status in done if isinstance(done, list) else status == "failure" and _failed_for_good(turn, fact)
    if not ran:
        turn.call_back(fact.block, record, status, fact.reason or str(fact.cause or fact.state))


def _failed_for_good(turn: Turn, fact: TaskFact) -> bool:
    """Say whether the job itself saw that no other try follows: then it has run the failure callbacks."""
    was_last = fact.attempt > turn.plan.task(fact.block).retries.retries
    return fact.exit_code == _USAGE_EXIT or (fact.exit_code == _USER_EXIT and was_last)


def _cancel(turn: Turn, blocks: tuple[str, ...] | None, reason: str | None) -> None:
    if blocks is None:
        if not turn.ending:
            turn.turn_to(RunState.CANCELLING, reason or "cancelled")
        return
    children.give_up_some(turn, frozenset(blocks))
    known = [name for block in dict.fromkeys(blocks) for name in _names(turn, block) if not turn.final(name)]
    for name in known:
        if name in turn.fans:
            children.give_up(turn, name)
        elif not turn.out(name):
            turn.stop(name)
    out = tuple(name for name in known if turn.out(name) and name not in turn.stopping)
    if out and turn.stopping != "all":
        turn.stopping = (*turn.stopping, *out)
        turn.outbox.append(Debt(kind="stop", at=turn.now, n=len(turn.stopping), reason=reason))


def _names(turn: Turn, block: str) -> list[str]:
    """Return the tasks that a name stands for: a block, with all its children, or one child that has begun."""
    if block in turn.plan.tasks:
        return [block, *children.records(turn, block)]
    return [block] if block in turn.tasks else []


def _note_claim(turn: Turn, name: str, key: str, *, claimed: bool) -> None:
    record = turn.tasks.get(name)
    if record and record.state is TaskState.QUEUED and key == turn.key(name, record):
        turn.tasks[name] = record.model_copy(update={"claimed": claimed})


def _present(turn: Turn, pools: frozenset[tuple[str, str]]) -> None:
    """Say once, for every queued task without a worker, that it waits."""
    turn.absent = turn.plan.pools - pools
    for name, record in tuple(turn.tasks.items()) if turn.absent else ():
        if record.state is not TaskState.QUEUED or record.claimed or record.waiting:
            continue
        if reason := turn.waiting(name):
            turn.tasks[name] = record.model_copy(update={"waiting": True})
            turn.owe_task(name, record, TaskState.QUEUED, n=1, reason=reason)


def _break(turn: Turn, reason: str) -> None:
    if not turn.ending:
        turn.turn_to(RunState.FAILING, reason)


def _gate(turn: Turn, event: Admitted | NoRoom) -> None:
    """Let the run begin, or wait, or give it up."""
    if turn.admitted or turn.run_state is not RunState.ACCEPTED:
        return
    if isinstance(event, Admitted):
        turn.admitted, turn.reason = True, None
    elif turn.plan.limits and turn.plan.limits.skip:
        turn.turn_to(RunState.CANCELLING, f"skipped: {event.reason}")
    elif turn.reason is None:
        _wait(turn, f"waiting: {event.reason}")


def _wait(turn: Turn, reason: str) -> None:
    """Say once why the run does not begin: with the fact that it is accepted, if that is not told yet."""
    turn.reason = short(reason)
    turn.outbox = [
        debt.model_copy(update={"reason": turn.reason}) if debt.run_state is RunState.ACCEPTED else debt
        for debt in turn.outbox
    ]

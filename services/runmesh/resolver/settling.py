"""What follows from where a run stands, until nothing more does: failure spreads, what is ready goes, the run ends."""

from collections.abc import Sequence
from datetime import datetime

from runmesh.events import RunState, TaskState
from runmesh.resolver import children
from runmesh.resolver.state import Debt, State
from runmesh.resolver.turn import Turn, short

_GOOD = frozenset({TaskState.COMPLETED, TaskState.CONDITION_FAILED})
"""As in Mage, a run completes although conditions were not met."""
_SHOWN = 5


def settle(turn: Turn) -> None:
    """Bring the run to rest: nothing more follows until the next event."""
    if turn.before.final:
        return
    _check_deadline(turn)
    _follow(turn)
    if turn.ending:
        _stop_everything(turn)
        _follow(turn)
    else:
        _dispatch(turn)
    if all(turn.final(block) for block in turn.plan.tasks) and _all_over(turn):
        _finish(turn)


def give_up(state: State, reason: str, now: datetime) -> State:
    """Return a run failed as it stands, since no turn of it succeeds; what its tasks may have running is told to stop.

    Of what it owed, only facts of the run itself are told: the rest may be what breaks.
    """
    told = (debt for debt in state.outbox if debt.kind == "run")
    stop = Debt(kind="stop", at=now, reason=short(reason))
    end = Debt(kind="run", run_state=RunState.FAILED, at=now, reason=short(reason))
    changes = {"state": RunState.FAILED, "reason": short(reason), "ended_at": now, "stopping": "all"}
    return state.model_copy(update={**changes, "outbox": (*told, stop, end)})


def _follow(turn: Turn) -> None:
    """Do what follows without anybody's doing, as often as something more follows from that."""
    before = (-1, -1)
    while before != (now := (len(turn.tasks), len(turn.fans))):
        before = now
        _spread_failure(turn)
        if turn.plan.fanning:
            children.fan_out(turn)
            children.give_up_below(turn)
            children.gather(turn)


def _check_deadline(turn: Turn) -> None:
    if turn.before.deadline and turn.now >= turn.before.deadline and not turn.ending:
        state = RunState.CANCELLING if turn.plan.request.timeout_status == "cancelled" else RunState.FAILING
        turn.turn_to(state, f"the run exceeded its timeout of {turn.plan.request.timeout:g} s")


def _spread_failure(turn: Turn) -> None:
    """Give up what is below a task that ended without completing."""
    broken = [name for name, record in turn.tasks.items() if record.final and record.state is not TaskState.COMPLETED]
    while broken:
        for block in turn.plan.downstream.get(broken.pop(), ()):
            if block not in turn.tasks and block not in turn.fans:
                turn.end(block, _fate(turn, block))
                broken.append(block)


def _fate(turn: Turn, block: str) -> TaskState:
    """Return how a task ends that can't run: as in Mage, by its condition if nothing above it failed."""
    above = {turn.tasks[name].state for name in turn.plan.tasks[block].upstream if name in turn.tasks}
    lost = {state for state in above if state in (TaskState.FAILED, TaskState.CANCELLED, TaskState.UPSTREAM_FAILED)}
    return TaskState.UPSTREAM_FAILED if lost else TaskState.CONDITION_FAILED


def _stop_everything(turn: Turn) -> None:
    for block in turn.plan.tasks:
        if block in turn.fans:
            children.give_up(turn, block)
        elif not turn.final(block) and not turn.out(block):
            turn.stop(block)
    for name, record in tuple(turn.tasks.items()):
        if record.state is TaskState.RETRYING and not record.callback:
            turn.stop(name)
    if turn.stopping != "all" and any(turn.out(name) and not record.callback for name, record in turn.tasks.items()):
        turn.stopping = "all"
        turn.outbox.append(Debt(kind="stop", at=turn.now, reason=turn.reason))
    for name in _due(turn)[: _room(turn)]:
        turn.send(name)


def _dispatch(turn: Turn) -> None:
    if not turn.admitted:
        return
    free = _room(turn)
    for name in _ready(turn)[:free]:
        free -= 1
        turn.send(name)
    for block, index in tuple(children.ready(turn, free)) if turn.fans else ():
        fan = turn.fans[block]
        turn.fans[block] = fan.begin(1 << index)
        turn.send(fan.name(block, index, turn.items), index)


def _room(turn: Turn) -> int:
    """Return how many more tasks may be out."""
    return max(0, turn.plan.max_in_flight - sum(record.state is TaskState.QUEUED for record in turn.tasks.values()))


def _ready(turn: Turn) -> Sequence[str]:
    completed = {name for name, record in turn.tasks.items() if record.state is TaskState.COMPLETED}
    fresh = [
        block
        for block, task in turn.plan.tasks.items()
        if block not in turn.tasks and completed.issuperset(task.upstream) and block not in turn.plan.fanning
    ]
    return _due(turn) + fresh


def _due(turn: Turn) -> list[str]:
    return [name for name, record in turn.tasks.items() if record.due_at and record.due_at <= turn.now]


def _all_over(turn: Turn) -> bool:
    return all(record.final for record in turn.tasks.values())


def _finish(turn: Turn) -> None:
    states = {turn.tasks[block].state for block in turn.plan.tasks}
    failed = turn.run_state is RunState.FAILING or states & {TaskState.FAILED, TaskState.UPSTREAM_FAILED}
    if states <= _GOOD:
        turn.turn_to(RunState.COMPLETED, None)
    elif failed and turn.run_state is not RunState.CANCELLING:
        turn.turn_to(RunState.FAILED, turn.reason or _why_failed(turn))
    else:
        turn.turn_to(RunState.CANCELLED, turn.reason)


def _why_failed(turn: Turn) -> str:
    failed = [block for block in turn.plan.tasks if turn.tasks[block].state is TaskState.FAILED]
    return (
        f"failed: {', '.join(failed[:_SHOWN])}{', …' if len(failed) > _SHOWN else ''}"
        if failed
        else "upstream cancelled"
    )

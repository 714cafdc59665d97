"""How a run moves: ``advance(plan, state, events, now) -> State``, pure and total.

One call is one turn. It takes what happened, then settles: spreads failure to what is below, stops what
must stop, dispatches what is ready, and ends the run when every task has ended. An event that the plan
does not know, or that comes too late, changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from runmesh.events import TaskState
from runmesh.resolver.happened import RunEvent
from runmesh.resolver.plan import Plan
from runmesh.resolver.reach import within_reach
from runmesh.resolver.settling import settle
from runmesh.resolver.state import State, TaskRecord
from runmesh.resolver.taking import take
from runmesh.resolver.turn import ENDING, Turn


def advance(plan: Plan, state: State, events: Iterable[RunEvent], now: datetime) -> State:
    """Return the state after these events; the very same object if they change nothing."""
    turn = Turn(plan, within_reach(plan, state, now), now)
    for event in events:
        take(turn, event)
    settle(turn)
    return turn.result()


def next_due(plan: Plan, state: State) -> datetime | None:
    """Return when the run must be looked at again, if nothing happens before: retry, queue or run timeout."""
    if state.final:
        return None
    times = [state.deadline] if state.deadline and state.state not in ENDING else []
    # Where no place is free, what frees one is the next event: a time that has passed would be looked at for ever.
    if len(state.out()) < plan.max_in_flight:
        times += [record.due_at for record in state.tasks.values() if record.due_at]
    if queue_end := next_queue_timeout(plan, state):
        times.append(queue_end)
    return min(times, default=None)


def next_queue_timeout(plan: Plan, state: State) -> datetime | None:
    """Return when the first of the queued tasks that nobody took is given up."""
    since = min([record.since for record in state.tasks.values() if record.since and not record.claimed], default=None)
    return since + timedelta(seconds=plan.queue_timeout) if since else None


def queue_timeout_at(plan: Plan, record: TaskRecord) -> datetime | None:
    """Return when a queued task that nobody took is given up."""
    if record.state is not TaskState.QUEUED or record.claimed or record.since is None:
        return None
    return record.since + timedelta(seconds=plan.queue_timeout)

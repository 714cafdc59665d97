"""No wait of a run is longer than it can be, whichever clock wrote its end (pure).

The times in a state are wall times, so that every replica can hold its waits. The clock that wrote one may have been
ahead, or ours was set back since: a wait that ends further away than it is long begins anew.
"""

from datetime import datetime, timedelta
from typing import Final

from runmesh.resolver.budgets import longest_wait
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State, TaskRecord

_APART: Final = timedelta(minutes=1)
"""So far, the clocks of two replicas may be apart."""


def within_reach(plan: Plan, state: State, now: datetime) -> State:
    """Return the state with all its waits within reach; the very same object if they are."""
    latest = now + _APART
    if not _beyond(state.deadline, latest) and not any(_far(record, latest) for record in state.tasks.values()):
        return state
    tasks = {name: _brought_back(plan, name, record, now) for name, record in state.tasks.items()}
    deadline = _at_most(state.deadline, now, plan.request.timeout or 0.0)
    if deadline == state.deadline and tasks == state.tasks:
        return state
    return state.model_copy(update={"deadline": deadline, "tasks": tasks})


def _far(record: TaskRecord, latest: datetime) -> bool:
    return _beyond(record.since, latest) or _beyond(record.due_at, latest)


def _beyond(at: datetime | None, latest: datetime) -> bool:
    return at is not None and at > latest


def _brought_back(plan: Plan, name: str, record: TaskRecord, now: datetime) -> TaskRecord:
    since = _at_most(record.since, now, 0.0)
    due_at = _at_most(record.due_at, now, longest_wait(plan, name, record))
    if (since, due_at) == (record.since, record.due_at):
        return record
    return record.model_copy(update={"since": since, "due_at": due_at})


def _at_most(at: datetime | None, now: datetime, seconds: float) -> datetime | None:
    latest = now + timedelta(seconds=seconds)
    return latest if _beyond(at, latest + _APART) else at

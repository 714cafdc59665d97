"""What may have been told before, by somebody who died before it was noted: it is told once, however long ago that was.

The stream drops a message whose id it knows, but it knows an id for two minutes only. What is older is looked for: the
subject of a task's fact says run, block and state, so its last message is the fact itself or one of a later submission.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from runmesh import subjects
from runmesh.bus import Bus
from runmesh.cloudevents import decode
from runmesh.errors import Invalid, Undecodable
from runmesh.events import TaskFact

_KNOWN: Final = timedelta(minutes=1)
"""For how long a message's id is surely known, whatever the clocks of two machines say."""


async def is_told(bus: Bus, subject: str, fact: TaskFact) -> bool:
    """Say whether a fact is stored that is so old that its message id may be forgotten. Raises `Unreachable`."""
    if datetime.now(UTC) - fact.at < _KNOWN or (last := await bus.last(subjects.FACTS, subject)) is None:
        return False
    try:
        return _order(decode(TaskFact, last.headers, last.data)) >= _order(fact)
    except (Invalid, Undecodable):
        return False


def _order(fact: TaskFact) -> tuple[int, int, int]:
    return fact.attempt, fact.resubmission, fact.n

"""Which cluster takes a step: a pure decision on what is listed, the same for every worker that sees the same.

EMR has no idempotency token for clusters, and a list may be a moment behind. So a cluster is used only once it was seen
for `SETTLED` seconds: by then all workers see the same clusters, and of those with room all choose the one with the
lowest id, those that have started first. Of those that begin and have no step yet all but the first are surplus: one
may have begun since the others were full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SETTLED: Final = 5.0
STARTING: Final = frozenset({"STARTING", "BOOTSTRAPPING"})
ALIVE: Final = (*sorted(STARTING), "RUNNING", "WAITING")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster of a need, as listed."""

    id: str
    state: str
    steps: int
    """Steps that wait or run."""
    seen: float
    """For how many seconds it has been known to this worker."""

    @property
    def is_young(self) -> bool:
        """Whether another worker might not see it yet, or have begun another one at the same moment."""
        return self.state in STARTING and self.seen < SETTLED


@dataclass(frozen=True, slots=True)
class Use:
    """Add the step to this cluster, after the surplus ones were terminated."""

    id: str
    surplus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Create:
    """There is none with room."""


def decide(found: Sequence[Cluster], *, most: int) -> Use | Wait | Create:
    """Decide for one step of one need; `most` is how many steps a cluster may have."""
    free = sorted((each for each in found if each.steps < most and each.state in ALIVE), key=lambda each: each.id)
    ready = [each for each in free if each.state not in STARTING]
    begun = [each for each in free if each.state in STARTING]
    young = [each for each in begun if each.is_young]
    if not free:
        return Create()
    if young and not ready:
        return Wait(SETTLED - min(each.seen for each in young))
    surplus = [] if young else [each.id for each in begun[1:] if not each.steps]
    return Use((ready or begun)[0].id, tuple(surplus))

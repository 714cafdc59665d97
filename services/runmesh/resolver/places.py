"""Which runs of one pipeline have a place, where their number is limited. Pure; `gate` stores it."""

from collections.abc import Mapping
from typing import Final, Self

from pydantic import Field

from runmesh.resolver.document import Document
from runmesh.resolver.plan import Plan

MOST: Final = 10_000
"""Places of one pipeline, whatever its limits: they are one document, which must fit into a message."""


class Asking(Document):
    """A run that asks for a place: its trigger, and the limits by which it was planned."""

    run: str
    trigger: str = ""
    per_trigger: int | None = None
    all_triggers: int | None = None


def asking(plan: Plan) -> Asking:
    """Return what a limited run asks for."""
    assert plan.limits is not None  # noqa: S101 - who is not limited asks for nothing
    return Asking(
        run=plan.run,
        trigger=plan.request.trigger_name or "",
        per_trigger=plan.limits.per_trigger,
        all_triggers=plan.limits.all_triggers,
    )


class Places(Document):
    """The runs of a pipeline that may run, and how many there may be.

    The limits are those of the run that came last: a project that raises them helps the runs that wait already. What
    no such run has said yet, each run says for itself.
    """

    held: dict[str, str] = Field(default_factory=dict)
    """Run to trigger."""
    all_triggers: int | None = None
    per_trigger: dict[str, int] = Field(default_factory=dict)
    """Of triggers that hold a place."""

    def limited(self, by: Asking) -> Self:
        """Return the places under the limits that this run came with."""
        others = {trigger: limit for trigger, limit in self.per_trigger.items() if trigger != by.trigger}
        own = {by.trigger: by.per_trigger} if by.per_trigger else {}
        return self._with(self.held, others | own, by.all_triggers)

    def given(self, to: Asking) -> Self:
        """Return the places with one more held."""
        return self._with({**self.held, to.run: to.trigger}, self.per_trigger, self.all_triggers)

    def without(self, run: str) -> Self:
        """Return the places that are held when this run has left."""
        held = {one: trigger for one, trigger in self.held.items() if one != run}
        return self._with(held, self.per_trigger, self.all_triggers)

    def refusal(self, asks: Asking) -> str | None:
        """Say why there is no room for one more run of this trigger, if there is none."""
        most = min(self.all_triggers or asks.all_triggers or MOST, MOST)
        if len(self.held) >= most:
            return f"{len(self.held)} of {most} runs of this pipeline are running (pipeline_run_limit_all_triggers)"
        of_trigger = self.per_trigger.get(asks.trigger, asks.per_trigger)
        running = sum(trigger == asks.trigger for trigger in self.held.values())
        if of_trigger is None or running < of_trigger:
            return None
        whose = f"of trigger {asks.trigger!r}" if asks.trigger else "without a trigger"
        return f"{running} of {of_trigger} runs of this pipeline {whose} are running (pipeline_run_limit)"

    def _with(self, held: dict[str, str], per_trigger: Mapping[str, int], all_triggers: int | None) -> Self:
        present = set(held.values())
        kept = {trigger: limit for trigger, limit in per_trigger.items() if trigger in present}
        return self.model_copy(update={"held": held, "per_trigger": kept, "all_triggers": all_triggers})

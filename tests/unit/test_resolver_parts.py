"""Small parts of the resolver, without NATS."""

from datetime import timedelta

import pytest

from runmesh.errors import Invalid
from runmesh.resolver.sizes import check_commands
from runmesh.resolver.timers import Timers
from tests.unit.plans import NOW, plan_of


async def test_timers_keep_nothing_of_runs_that_ended() -> None:
    timers = Timers()
    for number in range(20_000):
        timers.wake(f"r{number}", NOW + timedelta(days=3650))
        timers.forget(f"r{number}")
    timers.wake("last", NOW)
    assert len(timers) < 5_000
    assert await anext(timers.due()) == "last"


def test_a_callback_that_no_message_can_hold_is_refused_with_its_block() -> None:
    plan = plan_of({"load": []})
    large = plan.tasks["load"].model_copy(update={"environment": {"X": "x" * 100_000}})
    check_commands(plan, 100_000)
    with pytest.raises(Invalid, match="block load: the command of its callbacks takes"):
        check_commands(plan.model_copy(update={"callbacks": {"load": large}}), 100_000)

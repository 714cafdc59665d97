"""Small parts of the resolver, without NATS."""

import asyncio
import json
from datetime import timedelta
from typing import cast

import pytest

from runmesh.bus import Message
from runmesh.cloudevents import decode
from runmesh.errors import Invalid
from runmesh.events import RunRequest
from runmesh.resolver.sizes import check_commands
from runmesh.resolver.timers import Timers
from runmesh.resolver.tries import hand_back
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


class Waits:
    """A message that can be handed back once all the others are."""

    deliveries = 1

    def __init__(self, together: asyncio.Barrier) -> None:
        self._together = together

    async def nak(self, delay: float) -> None:
        assert delay == 1
        await self._together.wait()


async def test_messages_are_handed_back_together() -> None:
    together = asyncio.Barrier(200)
    async with asyncio.timeout(60):
        await hand_back([cast("Message", Waits(together)) for _ in range(200)])


def test_of_countless_mistakes_in_a_request_the_first_hundred_are_told() -> None:
    request = {"pipeline": "one", **{f"pipelin{number}": 1 for number in range(1000)}}
    with pytest.raises(Invalid) as refused:
        decode(RunRequest, {}, json.dumps(request).encode())
    assert len(refused.value.problems) == 100
    assert "did you mean 'pipeline'?" in str(refused.value)

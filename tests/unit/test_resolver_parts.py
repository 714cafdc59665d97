"""Small parts of the resolver, without NATS."""

from datetime import timedelta

from runmesh.resolver.timers import Timers
from tests.unit.plans import NOW


async def test_timers_keep_nothing_of_runs_that_ended() -> None:
    timers = Timers()
    for number in range(20_000):
        timers.wake(f"r{number}", NOW + timedelta(days=3650))
        timers.forget(f"r{number}")
    timers.wake("last", NOW)
    assert len(timers) < 5_000
    assert await anext(timers.due()) == "last"

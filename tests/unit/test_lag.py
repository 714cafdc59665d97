"""How late the event loop was, and how far clocks are apart."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from runmesh.clock import ahead
from runmesh.lag import Lag, measured
from tests.eventually import eventually


def test_the_worst_of_late_counts_until_it_is_long_ago() -> None:
    lag = Lag()
    for late in (0.1, 3.0, 0.2):
        lag.note(late)
    assert lag.worst == 3.0
    assert REGISTRY.get_sample_value("runmesh_event_loop_lag_seconds") == 3.0
    for _ in range(20):
        lag.note(0.0)
    assert lag.worst == 0.0


async def test_what_holds_up_the_loop_is_measured() -> None:
    async with measured() as lag:
        await asyncio.sleep(0)  # it has begun
        time.sleep(0.7)  # noqa: ASYNC251 - the very thing that is to be noticed
        await eventually(lambda: lag.worst > 0.1)


@pytest.mark.parametrize(("theirs", "seconds"), [(90.0, 10.0), (100.0, 0.0), (101.0, 0.0), (112.0, -10.0)])
def test_our_clock_is_ahead_by_what_no_journey_explains(theirs: float, seconds: float) -> None:
    assert ahead(theirs, before=100.0, after=102.0) == seconds

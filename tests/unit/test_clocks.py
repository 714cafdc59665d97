"""Clocks that are set while a run waits: no wait takes more than its own length again."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import RetryPolicy
from runmesh.resolver import timers
from runmesh.resolver.advance import advance, next_due, next_queue_timeout
from runmesh.resolver.happened import Tick
from runmesh.resolver.plan import Plan
from runmesh.resolver.state import State
from runmesh.resolver.timers import Timers
from tests.unit.plans import NOW, begun, fact_of, plan_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DELAY = 5
GRAPH: dict[str, list[str]] = {"load": []}


def retrying(plan: Plan, cause: Cause = Cause.USER) -> State:
    state = begun(plan)
    return advance(plan, state, [fact_of(plan, state, "load", TaskState.FAILED, cause)], NOW)


def after_a_tick(plan: Plan, state: State, now: datetime) -> State:
    return advance(plan, state, [Tick()], now)


@given(st.timedeltas(timedelta(0), 30 * 365 * timedelta(days=1)), st.sampled_from([Cause.USER, Cause.LOST]))
def test_a_clock_that_is_set_back_lets_a_retry_wait_its_delay_once_more(jump: timedelta, cause: Cause) -> None:
    plan = plan_of(GRAPH, retries=RetryPolicy(retries=1, delay=DELAY))
    state = retrying(plan, cause)
    due = next_due(plan, state)
    assert due is not None
    now = NOW - jump
    seen = next_due(plan, after_a_tick(plan, state, now))
    assert seen is not None
    assert seen - now <= MINUTE + (due - NOW) * 4 / 3, "the delay may have been shortened by a quarter"


@given(st.timedeltas(MINUTE, 30 * 365 * timedelta(days=1)))
def test_a_clock_that_is_set_back_lets_no_timeout_wait_longer_than_from_the_beginning(jump: timedelta) -> None:
    plan = plan_of(GRAPH, request={"timeout": 600})
    now = NOW - jump
    state = after_a_tick(plan, begun(plan), now)
    assert state.deadline is not None
    assert state.deadline - now <= timedelta(seconds=600) + MINUTE
    queue_end = next_queue_timeout(plan, state)
    assert queue_end is not None
    assert queue_end - now <= timedelta(seconds=plan.queue_timeout) + MINUTE


@given(st.timedeltas(timedelta(0), MINUTE))
def test_clocks_that_are_a_little_apart_change_nothing(apart: timedelta) -> None:
    plan = plan_of(GRAPH, retries=RetryPolicy(retries=1, delay=DELAY), request={"timeout": 600})
    for state in (begun(plan), retrying(plan)):
        assert after_a_tick(plan, state, NOW - apart) is state


def test_a_clock_that_is_set_forward_ends_a_wait_early() -> None:
    plan = plan_of(GRAPH, retries=RetryPolicy(retries=1, delay=DELAY))
    assert after_a_tick(plan, retrying(plan), NOW + HOUR).tasks["load"].state is TaskState.QUEUED
    limited = plan_of(GRAPH, request={"timeout": 600})
    assert after_a_tick(limited, begun(limited), NOW + HOUR).state is RunState.FAILING


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_timer_that_is_set_rings_at_its_time_whatever_becomes_of_the_clock(jump: timedelta) -> None:
    class Jumping(datetime):
        by = timedelta(0)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return datetime.now(UTC) + cls.by

    before = vars(timers)["datetime"]
    vars(timers)["datetime"] = Jumping
    try:
        waits = Timers()
        waits.wake("soon", Jumping.now(UTC) + timedelta(seconds=0.2))
        waits.wake("later", Jumping.now(UTC) + HOUR / 2)
        Jumping.by = jump
        rings = waits.due()
        async with asyncio.timeout(60):
            assert await anext(rings) == "soon"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(rings)
    finally:
        vars(timers)["datetime"] = before

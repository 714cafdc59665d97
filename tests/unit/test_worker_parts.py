"""The worker's pure parts: verdicts, dead letters, facts that must fit, back-pressure, the lease."""

import asyncio
import random
import zlib
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.bus import Message
from runmesh.claims import Stopping
from runmesh.dead import dead_letter
from runmesh.errors import Unreachable
from runmesh.events import Cause, DeadLetter, TaskFact, TaskState
from runmesh.executor import Handle, Observation, Phase
from runmesh.worker.intake import unreadable
from runmesh.worker.lease import Lease, LeaseLost
from runmesh.worker.platform import Platform
from runmesh.worker.report import fit
from runmesh.worker.throttle import FIRST_DELAY, LONGEST_DELAY, Throttle
from runmesh.worker.verdict import Verdict
from tests.executors.scripted import Platform as Cloud
from tests.executors.scripted import ScriptedExecutor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SUBJECT = "mesh.execute.k8s.default.shop.run-1.load"


def fact(**fields: object) -> TaskFact:
    return TaskFact.model_validate(
        {
            "run": "r",
            "block": "b",
            "attempt": 1,
            "key": "k",
            "state": "failed",
            "n": 3,
            "executor_type": "k8s",
            "pool": "default",
            "at": NOW,
            **fields,
        }
    )


# --- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (Observation(Phase.FAILED, 1), Cause.USER),
        (Observation(Phase.FAILED, 2, Cause.CONFIG), Cause.CONFIG),
        (Observation(Phase.FAILED), Cause.INFRASTRUCTURE),
        (Observation(Phase.FAILED, 0), Cause.INFRASTRUCTURE),
        (Observation(Phase.FAILED, 143, Cause.CANCELLED), Cause.INFRASTRUCTURE),
        (Observation(Phase.SUCCEEDED, 0), None),
    ],
)
def test_an_end_that_was_observed_has_the_cause_that_was_seen(seen: Observation, cause: Cause | None) -> None:
    assert Verdict.observed(seen).cause is cause


@pytest.mark.parametrize(
    ("outcome", "state", "cause"),
    [
        (None, TaskState.FAILED, Cause.LOST),
        ({}, TaskState.FAILED, Cause.LOST),
        ({"exit_code": "0"}, TaskState.FAILED, Cause.LOST),
        ({"exit_code": 0}, TaskState.COMPLETED, None),
        ({"exit_code": 1}, TaskState.FAILED, Cause.USER),
        ({"exit_code": 2}, TaskState.FAILED, Cause.CONFIG),
    ],
)
def test_a_job_that_is_gone_is_what_it_left(
    outcome: dict[str, object] | None, state: TaskState, cause: Cause | None
) -> None:
    verdict = Verdict.left_behind(outcome)
    assert (verdict.state, verdict.cause) == (state, cause)


@pytest.mark.parametrize(
    ("cause", "state", "told"),
    [
        (Cause.CANCELLED, TaskState.CANCELLED, Cause.CANCELLED),
        (Cause.TIMEOUT, TaskState.FAILED, Cause.UNVERIFIED),
        (Cause.CAPACITY, TaskState.FAILED, Cause.UNVERIFIED),
    ],
)
def test_a_stop_that_is_not_confirmed_spends_nothing(cause: Cause, state: TaskState, told: Cause) -> None:
    verdict = Verdict.unstoppable(Stopping(cause=cause, at=NOW), 600)
    assert (verdict.state, verdict.cause, verdict.unconfirmed) == (state, told, True)


# --- dead letters --------------------------------------------------------------------------------


def body_of(letter: DeadLetter) -> bytes:
    match letter.encoding:
        case "utf-8":
            return letter.body.encode()
        case "base64":
            return b64decode(letter.body)
        case _:
            return zlib.decompress(b64decode(letter.body))


@given(st.binary(max_size=3000) | st.text(max_size=3000).map(lambda text: text.encode(errors="ignore")))
def test_a_dead_letter_keeps_the_body_whole_and_fits(data: bytes) -> None:
    letter = dead_letter(Message(SUBJECT, data, {"ce-id": "x"}), "undecodable", "no", 24_000)
    assert body_of(letter) == data
    assert not letter.truncated
    assert len(letter.to_json()) <= 24_000


@given(st.integers(), st.text(max_size=200).map(lambda text: text * 40))
def test_a_dead_letter_that_is_too_large_keeps_the_beginning(seed: int, error: str) -> None:
    data = random.Random(seed).randbytes(40_000)  # noqa: S311 - noise that doesn't pack
    letter = dead_letter(Message(SUBJECT, data, {}), "undecodable", error, 30_000)
    assert letter.truncated
    assert data.startswith(body_of(letter))
    assert len(letter.to_json()) <= 30_000


def test_a_large_text_that_packs_well_is_packed() -> None:
    data = b"a" * 50_000
    letter = dead_letter(Message(SUBJECT, data, {}), "undecodable", "no", 10_000)
    assert (letter.encoding, letter.truncated, body_of(letter)) == ("zlib+base64", None, data)


def test_what_cant_be_read_is_told_of_the_task_on_its_subject() -> None:
    told = unreadable(Message(SUBJECT, b"", {"Runmesh-Attempt": "3"}), "no", "w")
    assert told
    assert (told.run, told.block, told.attempt, told.cause) == ("run-1", "load", 3, Cause.CONFIG)


def test_nothing_is_told_of_a_run_that_can_be_none() -> None:
    assert unreadable(Message(SUBJECT.replace("run-1", "x" * 65), b"", {}), "no", "w") is None
    assert unreadable(Message(SUBJECT, b"", {"Runmesh-Attempt": "three"}), "no", "w") is None


# --- facts that must fit ---------------------------------------------------------------------------


def test_a_fact_loses_only_what_makes_it_too_large() -> None:
    tail, outcome = ("x" * 500,) * 4, {"exit_code": 0, "big": "y" * 3000}
    whole = fact(log_tail=tail, outcome=outcome, reason="because")
    assert fit(whole, 10_000) == whole
    assert fit(whole, 4000) == whole.model_copy(update={"log_tail": None})
    assert fit(whole, 1000) == whole.model_copy(update={"log_tail": None, "outcome": None})
    assert len(fit(fact(reason="z" * 100_000), 4000).to_json()) <= 4000


# --- back-pressure -----------------------------------------------------------------------------------


def test_refusals_make_everybody_wait_longer_each_time_until_a_job_is_taken() -> None:
    throttle = Throttle()
    delays = [throttle.refused(None) for _ in range(12)]
    assert FIRST_DELAY <= delays[0] <= FIRST_DELAY * 1.25
    assert delays[3] > delays[0]
    assert max(delays) <= LONGEST_DELAY * 1.25
    assert throttle.turn() > 0
    throttle.accepted()
    assert throttle.refused(None) <= FIRST_DELAY * 1.25


def test_what_the_platform_asks_for_is_kept() -> None:
    assert 7 <= Throttle().refused(7) <= 7 * 1.25


def test_a_rate_is_shared_by_the_workers_of_a_pool() -> None:
    throttle = Throttle(rate=2.0)
    throttle.replicas = 4
    assert throttle.turn() == 0
    assert 1.9 < throttle.turn() <= 2.0


def test_what_was_not_submitted_for_a_while_is_made_up_for_at_once() -> None:
    throttle = Throttle(rate=2.0, burst=10.0)
    assert [throttle.turn() for _ in range(10)] == [0.0] * 10
    assert 0.4 < throttle.turn() <= 0.5


def test_without_a_rate_nobody_waits() -> None:
    throttle = Throttle()
    assert [throttle.turn() for _ in range(100)] == [0.0] * 100


# --- the lease ---------------------------------------------------------------------------------------


def ended_lease() -> Lease:
    return Lease(0.0)


def test_a_lease_that_has_ended_cant_be_renewed() -> None:
    with pytest.raises(LeaseLost):
        ended_lease().renew(1e12)


async def test_without_a_lease_nothing_reaches_the_platform() -> None:
    cloud = Cloud()
    platform = Platform(ScriptedExecutor(cloud), ended_lease())
    for call in (platform.cancel, platform.remove):
        with pytest.raises(LeaseLost):
            await call(Handle("h"))
    with pytest.raises(LeaseLost):
        await platform.observe([Handle("h")])
    with pytest.raises(LeaseLost):
        platform.jobs()
    assert not cloud.calls


async def test_a_call_to_nats_is_repeated_until_it_is_answered() -> None:
    failures = [Unreachable("no"), Unreachable("no")]

    async def call() -> int:
        if failures:
            raise failures.pop()
        return 7

    assert await Lease(60).insist(call) == 7


async def test_a_call_to_nats_is_given_up_with_the_lease() -> None:
    async def call() -> int:
        raise Unreachable("no")

    with pytest.raises(LeaseLost):
        await Lease(0.2).insist(call)


async def test_a_lost_lease_is_noticed_by_itself() -> None:
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(Lease(0.1).lost(), 5)

"""What Cloud Run says of a job and its execution, by the table; and lines, put into their order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Phase
from runmesh.executors.google.output import Line, Output
from runmesh.executors.google.reading import question
from runmesh.executors.google.refusals import Refused
from runmesh.executors.google.verdict import Found, failed, observed, of_execution

SETTLE = 5.0
SECOND = 10**9


def execution(*, command: str = "runmesh-run", **condition: Any) -> dict[str, Any]:
    container = {"command": [command], "resources": {"limits": {"memory": "2Gi"}}}
    completed = {"type_": "Completed", "state": "CONDITION_FAILED", **condition}
    return {"conditions": [{"type_": "Started"}, completed], "template": {"containers": [container]}}


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (Found(), Phase.PENDING),
        (Found("EXECUTION_PENDING"), Phase.PENDING),
        (Found("EXECUTION_RUNNING"), Phase.RUNNING),
        (Found("EXECUTION_CANCELLED"), Phase.RUNNING),
        (Found("EXECUTION_SUCCEEDED", completed=True), Phase.SUCCEEDED),
        (Found("EXECUTION_FAILED", completed=True), Phase.FAILED),
        (Found("EXECUTION_CANCELLED", completed=True), Phase.FAILED),
        (Found("7"), Phase.UNKNOWN),
    ],
)
def test_a_status_means_what_the_table_says(found: Found, phase: Phase) -> None:
    assert observed(found, "").phase is phase


@pytest.mark.parametrize(
    ("found", "phase", "cause"),
    [
        (Found(broken=True, reason="CONTAINER_MISSING"), Phase.FAILED, Cause.CONFIG),
        (Found(broken=True, reason="INTERNAL"), Phase.FAILED, Cause.INFRASTRUCTURE),
        (Found(broken=True, message="Secret projects/1/secrets/x was not found"), Phase.FAILED, Cause.CONFIG),
        (Found(broken=True), Phase.FAILED, Cause.INFRASTRUCTURE),
        (Found(message="Quota exceeded for CPUs"), Phase.PENDING, Cause.CAPACITY),
    ],
)
def test_a_job_that_never_started_says_why(found: Found, phase: Phase, cause: Cause) -> None:
    seen = observed(found, "")
    assert (seen.phase, seen.cause) == (phase, cause)
    assert seen.reason


@pytest.mark.parametrize(
    ("condition", "result", "cause", "code", "words"),
    [
        ({"execution_reason": "NON_ZERO_EXIT_CODE"}, {"exit_code": 1}, Cause.USER, 1, "exit code 1"),
        ({"execution_reason": "NON_ZERO_EXIT_CODE"}, {"exit_code": 2}, Cause.CONFIG, 2, "an input is wrong"),
        ({"command": "sh"}, {"exit_code": 2}, Cause.USER, 2, "exit code 2"),
        ({}, {"term_signal": 9}, Cause.USER, 137, "its memory of 2Gi"),
        ({}, {"term_signal": 11}, Cause.USER, 139, "SIGSEGV"),
        ({"message": "Memory limit of 2048 MiB exceeded"}, {"term_signal": 9}, Cause.USER, 137, "2048 MiB"),
        ({"execution_reason": "CANCELLED"}, {"term_signal": 15}, Cause.CANCELLED, 143, "cancelled"),
        ({"execution_reason": "JOB_STATUS_SERVICE_POLLING_ERROR"}, {}, Cause.INFRASTRUCTURE, None, "POLLING"),
        ({"execution_reason": "DELETED"}, {}, Cause.INFRASTRUCTURE, None, "DELETED"),
        ({"message": "The configured timeout was reached."}, {}, Cause.TIMEOUT, None, "timeout"),
        ({"message": "Application exec likely failed"}, {}, Cause.CONFIG, None, "exec"),
        ({"message": "Application exec likely failed"}, {"exit_code": 127}, Cause.USER, 127, "exit code 127"),
        ({"message": "?"}, {"status": {"message": "no available capacity"}}, Cause.CAPACITY, None, "capacity"),
        ({}, {}, Cause.INFRASTRUCTURE, None, "nothing says why"),
    ],
)
def test_a_failure_has_a_cause(
    condition: dict[str, Any], result: dict[str, Any], cause: Cause, code: int | None, words: str
) -> None:
    seen = failed(execution(**condition), {"last_attempt_result": result}, url="", log_tail=("last",))
    assert (seen.phase, seen.cause, seen.exit_code, seen.log_tail) == (Phase.FAILED, cause, code, ("last",))
    assert words in str(seen.reason)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (execution(state="CONDITION_SUCCEEDED"), "EXECUTION_SUCCEEDED"),
        (execution(), "EXECUTION_FAILED"),
        (execution(execution_reason="CANCELLED"), "EXECUTION_CANCELLED"),
        (execution(state="CONDITION_RECONCILING") | {"running_count": 1}, "EXECUTION_RUNNING"),
        ({}, "EXECUTION_PENDING"),
    ],
)
def test_an_execution_itself_says_the_same(told: dict[str, Any], status: str) -> None:
    assert of_execution(told).status == status


def test_what_nobody_knows_yet_says_nothing() -> None:
    assert observed(Found("EXECUTION_LEVITATING"), "") == UNKNOWN


@pytest.mark.parametrize(
    ("code", "message", "means"),
    [
        ("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Write requests'", Unavailable),
        ("FAILED_PRECONDITION", "The maximum number of jobs in the region was reached", Unavailable),
        ("UNAUTHENTICATED", "Request had invalid authentication credentials", Unavailable),
        ("FAILED_PRECONDITION", "The service account is disabled", Rejected),
        ("INVALID_ARGUMENT", "image: must be set", Rejected),
        ("PERMISSION_DENIED", "Permission 'run.jobs.create' denied", Rejected),
        ("NOT_FOUND", "no such project", Rejected),
        ("NO_CREDENTIALS", "no such file", Rejected),
        ("UNAVAILABLE", "Socket closed", Refused),
        ("INTERNAL", "?", Refused),
        ("DEADLINE_EXCEEDED", "?", Refused),
        ("ABORTED", "?", Refused),
    ],
)
def test_a_refused_submission_is_for_now_for_good_or_ambiguous(code: str, message: str, means: type[Exception]) -> None:
    found = Refused(code, message).of_submit()
    assert type(found) is means
    assert message in str(found)


# --- lines ------------------------------------------------------------------------------------------


def followed() -> Output:
    output = Output("x", 0, SETTLE)
    output.followed = True
    return output


def line(at: float, name: str = "") -> Line:
    return Line(int(at * SECOND), name or f"{at:09.3f}", "stdout", f"{at:g}")


@given(st.lists(st.floats(0, SETTLE * 0.9), min_size=1, max_size=30), st.data())
def test_lines_come_once_and_in_order_however_late_they_are(delays: list[float], data: st.DataObject) -> None:
    """Each line is written a second after the last one, and can be read some seconds later."""
    output, taken = followed(), list[str]()
    written = [(line(n + 1), n + 1 + delay) for n, delay in enumerate(delays)]
    now, ended = 0.0, len(delays) + 1.0
    while not output.complete:
        began, since = now, output.ask()
        for each, there in written:
            if there <= began and each.at >= since:
                output.add(each, now)
        output.turn(began, now, ended if now >= ended else None)
        taken += [each.text for each in output.take()]
        now += data.draw(st.floats(0.5, 3))
    assert taken == [f"{n + 1}" for n in range(len(delays))]
    assert list(output.tail) == taken[-20:]


def test_lines_that_were_not_asked_for_are_not_taken() -> None:
    output = Output("x", 0, SETTLE)
    output.add(line(1), 0.0)
    output.add(line(20), 0.0)
    output.turn(0.0, SETTLE, None)
    output.ask()
    assert not output.add(line(1), 6.0)


def test_a_flood_is_read_onwards() -> None:
    output = Output("x", 0, SETTLE)
    for n in range(1000):
        output.add(line(n / 1000), 0.0)
    output.turn(0.0, 0.0, None, more=True)
    assert output.cursor == int(0.999 * SECOND)
    output.turn(1.0, 1.0, None)
    assert output.cursor == 0


def test_a_flood_of_others_takes_no_late_line_away() -> None:
    output = Output("x", 0, SETTLE)
    output.add(line(9), 0.0)
    output.turn(0.0, 0.0, 0.0, more=True)
    assert output.cursor == 4 * SECOND
    output.turn(99.0, 99.0, 0.0, more=True)
    assert not output.complete


def test_what_nobody_follows_is_kept_no_longer_than_its_last_lines() -> None:
    output = Output("x", 0, SETTLE)
    for n in range(100):
        output.add(line(n), 0.0)
    output.turn(SETTLE, SETTLE, None)
    assert not output.waiting
    assert list(output.tail) == [f"{n}" for n in range(80, 100)]


def test_what_waits_is_measured_by_its_length() -> None:
    output = followed()
    output.add(Line(1, "1", "stdout", "x" * 1000), 0.0)
    output.turn(SETTLE, SETTLE, None)
    assert output.waiting > 1000
    output.take()
    assert output.waiting == 0


def test_a_log_is_complete_when_nothing_came_for_a_while_after_the_end() -> None:
    output = followed()
    output.turn(10.0, 10.0, 9.0)
    assert not output.complete
    output.add(line(8), 13.0)
    output.turn(14.5, 14.5, 9.0)
    assert not output.complete
    output.turn(18.5, 18.5, 9.0)
    assert output.complete
    assert [each.text for each in output.take()] == ["8"]


def test_one_question_names_many_executions_and_how_far_each_was_read() -> None:
    outputs = [Output(f"job-{n}-run", n * SECOND, SETTLE) for n in range(100)]
    found = question(outputs)
    assert len(found) < 20_000
    assert (
        '(labels."run.googleapis.com/execution_name"="job-7-run" timestamp>="1970-01-01T00:00:07.000000000Z")' in found
    )

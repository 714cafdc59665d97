"""What a described task means, by the table."""

from typing import Any

import pytest

from runmesh.events import Cause
from runmesh.executor import GONE, UNKNOWN, Phase
from runmesh.executors.amazon.ecs.verdict import observed

ARN = "arn:aws:ecs:eu-west-1:1:task/prod/abc"
EXITED = "Essential container in task exited"


def task(status: str = "STOPPED", *, container: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    override = {"name": "main", "command": ["runmesh-run"], "memory": 2048}
    main = {"name": "main", **(container or {})}
    return {
        "taskArn": ARN,
        "lastStatus": status,
        "overrides": {"containerOverrides": [override]},
        "containers": [{"name": "sidecar"}, main],
        **more,
    }


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("PROVISIONING", Phase.PENDING),
        ("PENDING", Phase.PENDING),
        ("ACTIVATING", Phase.PENDING),
        ("RUNNING", Phase.RUNNING),
        ("DEPROVISIONING", Phase.PENDING),
    ],
)
def test_a_task_on_its_way_says_where_it_is(status: str, phase: Phase) -> None:
    assert observed(task(status)).phase is phase


def test_a_task_that_ran_is_running_until_it_has_stopped() -> None:
    assert observed(task("DEPROVISIONING", startedAt=1.0)).phase is Phase.RUNNING


def test_a_status_that_nobody_knows_says_nothing() -> None:
    assert observed(task("LEVITATING")) == UNKNOWN
    assert observed(task("DELETED")) == GONE


@pytest.mark.parametrize(
    ("container", "cause", "words"),
    [
        ({"exitCode": 1}, Cause.USER, "exit code 1"),
        ({"exitCode": 2}, Cause.CONFIG, "the project, the arguments or an input is wrong"),
        ({"exitCode": 139}, Cause.USER, "SIGSEGV"),
        ({"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"}, Cause.USER, "2048 MiB"),
        ({"exitCode": 137}, Cause.USER, "SIGKILL"),
        ({}, Cause.INFRASTRUCTURE, EXITED),
    ],
)
def test_a_container_that_ended_by_itself_tells_why(container: dict[str, Any], cause: Cause, words: str) -> None:
    found = observed(
        task(container=container, startedAt=1.0, stopCode="EssentialContainerExited", stoppedReason=EXITED)
    )
    assert (found.phase, found.cause, found.exit_code) == (Phase.FAILED, cause, container.get("exitCode"))
    assert words in str(found.reason)


def test_memory_may_be_named_by_the_tasks_own_reason_only() -> None:
    reason = "OutOfMemoryError: Container killed due to memory usage"
    found = task(container={"exitCode": 137}, startedAt=1.0, stopCode="EssentialContainerExited", stoppedReason=reason)
    assert "2048 MiB" in str(observed(found).reason)


def test_two_is_a_command_blocks_own_exit_code() -> None:
    found = task(container={"exitCode": 2}, startedAt=1.0, stopCode="EssentialContainerExited")
    found["overrides"]["containerOverrides"][0]["environment"] = [{"name": "RUNMESH_VARIABLES", "value": "{}"}]
    assert observed(found).cause is Cause.USER


def test_a_container_that_was_stopped_for_another_names_it() -> None:
    found = task(container={"exitCode": 143}, startedAt=1.0, stopCode="EssentialContainerExited")
    found["containers"][0]["exitCode"] = 3
    assert "container sidecar (exit code 3)" in str(observed(found).reason)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("CannotPullContainerError: pull image manifest: etl:9: not found", Cause.CONFIG),
        ("CannotPullContainerError: pull access denied: insufficient_scope: authorization failed", Cause.CONFIG),
        ("CannotPullContainerError: dial tcp 10.0.0.1:443: i/o timeout", Cause.INFRASTRUCTURE),
        ("CannotPullContainerError: toomanyrequests: You have reached your pull rate limit", Cause.INFRASTRUCTURE),
        ("CannotStartContainerError: exec: no-such-command: executable file not found in $PATH", Cause.CONFIG),
        ("ResourceInitializationError: unable to pull secrets: AccessDeniedException", Cause.CONFIG),
        ("ResourceInitializationError: failed to validate logger args: connection timed out", Cause.INFRASTRUCTURE),
        ("Capacity is unavailable at this time. Please try again later", Cause.CAPACITY),
        ("RESOURCE:ENI", Cause.CAPACITY),
        ("InternalError: unexpected", Cause.INFRASTRUCTURE),
        ("something that nobody has seen", Cause.INFRASTRUCTURE),
    ],
)
def test_a_task_that_never_started_is_told_by_its_reason(reason: str, cause: Cause) -> None:
    found = observed(task(stopCode="TaskFailedToStart", stoppedReason=reason))
    assert (found.phase, found.cause, found.reason) == (Phase.FAILED, cause, reason)


@pytest.mark.parametrize(
    "code", ["SpotInterruption", "TerminationNotice", "ServiceSchedulerInitiated", "UserInitiated"]
)
def test_a_stop_from_outside_is_the_infrastructures_whatever_the_exit_code(code: str) -> None:
    found = observed(task(container={"exitCode": 0}, startedAt=1.0, stopCode=code, stoppedReason="why"))
    assert (found.phase, found.cause, found.reason) == (Phase.FAILED, Cause.INFRASTRUCTURE, f"{code}: why")


@pytest.mark.parametrize(
    ("arn", "page"),
    [
        ("arn:aws-cn:ecs:cn-north-1:1:task/prod/abc", "https://console.amazonaws.cn/"),
        ("arn:aws-us-gov:ecs:us-gov-west-1:1:task/prod/abc", "https://console.amazonaws-us-gov.com/"),
    ],
)
def test_other_partitions_have_consoles_of_their_own(arn: str, page: str) -> None:
    assert str(observed(task("RUNNING") | {"taskArn": arn}).url).startswith(page)


def test_our_own_stop_is_a_cancellation() -> None:
    found = observed(task(startedAt=1.0, stopCode="UserInitiated", stoppedReason="runmesh: stopped by the mesh"))
    assert (found.cause, found.reason) == (Cause.CANCELLED, "stopped by the mesh")


def test_a_stop_that_came_after_the_end_changes_nothing() -> None:
    found = observed(task(container={"exitCode": 0}, stopCode="EssentialContainerExited", stoppedReason=EXITED))
    assert (found.phase, found.exit_code) == (Phase.SUCCEEDED, 0)

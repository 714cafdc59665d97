"""What a container group means, by the tables."""

from typing import Any

import pytest

from runmesh.errors import Rejected, Unavailable
from runmesh.events import Cause
from runmesh.executor import UNKNOWN, Observation, Phase
from runmesh.executors.azure.refusals import Refused
from runmesh.executors.azure.verdict import observed

ENDED = {"state": "Terminated", "startTime": "2026-11-22T10:00:00Z", "detailStatus": "Error"}


def group(
    provisioning: str = "Succeeded",
    state: str = "Running",
    *,
    current: dict[str, Any] | None = None,
    events: tuple[tuple[str, str], ...] = (),
    variables: tuple[str, ...] = (),
) -> dict[str, Any]:
    told = [{"name": name, "message": message, "lastTimestamp": str(at)} for at, (name, message) in enumerate(events)]
    container = {
        "command": ["runmesh-run"],
        "environmentVariables": [{"name": name, "value": ""} for name in variables],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1.5}},
        "instanceView": {"currentState": current or {}, "events": []},
    }
    view = {"state": state, "events": told}
    return {
        "properties": {
            "provisioningState": provisioning,
            "instanceView": view,
            "containers": [{"name": "task", "properties": container}],
        }
    }


@pytest.mark.parametrize(
    ("provisioning", "current", "phase"),
    [
        ("Pending", {}, Phase.PENDING),
        ("Creating", {"state": "Waiting"}, Phase.PENDING),
        ("Succeeded", {"state": "Waiting"}, Phase.PENDING),
        ("Succeeded", {"state": "Running"}, Phase.RUNNING),
        ("Updating", {"state": "Running"}, Phase.RUNNING),
        ("Unhealthy", {"state": "Waiting"}, Phase.UNKNOWN),
        ("Repairing", {}, Phase.UNKNOWN),
        ("Levitating", {}, Phase.UNKNOWN),
    ],
)
def test_what_is_on_its_way_says_where_it_is(provisioning: str, current: dict[str, Any], phase: Phase) -> None:
    assert observed(group(provisioning, "Pending", current=current)).phase is phase


def test_a_listing_which_has_no_views_says_that_nothing_has_ended() -> None:
    listed = group()
    del listed["properties"]["instanceView"], listed["properties"]["containers"][0]["properties"]["instanceView"]
    assert observed(listed) == Observation(Phase.PENDING)


def test_success_is_the_containers_exit_code() -> None:
    assert observed(group(state="Succeeded", current={**ENDED, "exitCode": 0})).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("current", "cause", "words"),
    [
        ({"exitCode": 1}, Cause.USER, "exit code 1"),
        ({"exitCode": 2}, Cause.CONFIG, "the project, the arguments or an input is wrong"),
        ({"exitCode": 139}, Cause.USER, "SIGSEGV"),
        ({"exitCode": 137, "detailStatus": "OOMKilled"}, Cause.USER, "its memory of 1.5 GB"),
        ({"exitCode": 7147}, Cause.INFRASTRUCTURE, "its own code 7147"),
        ({}, Cause.INFRASTRUCTURE, "nothing says why"),
    ],
)
def test_another_end_is_told_by_its_cause(current: dict[str, Any], cause: Cause, words: str) -> None:
    seen = observed(group(state="Failed", current={**ENDED, **current}))
    assert (seen.phase, seen.cause) == (Phase.FAILED, cause)
    assert words in str(seen.reason)


@pytest.mark.parametrize(
    ("current", "cause"),
    [
        ({"exitCode": 137}, Cause.INFRASTRUCTURE),
        ({"exitCode": 143}, Cause.INFRASTRUCTURE),
        ({"exitCode": 137, "detailStatus": "OOMKilled"}, Cause.USER),
        ({"exitCode": 1}, Cause.USER),
    ],
)
def test_a_spot_container_that_was_killed_was_evicted(current: dict[str, Any], cause: Cause) -> None:
    told = group(state="Failed", current={**ENDED, **current})
    told["properties"]["priority"] = "Spot"
    assert observed(told).cause is cause


def test_exit_codes_of_a_command_block_are_its_own() -> None:
    assert observed(group(current={**ENDED, "exitCode": 2}, variables=("RUNMESH_VARIABLES",))).cause is Cause.USER


@pytest.mark.parametrize(
    ("state", "events", "cause"),
    [
        (
            "Failed",
            (("InsufficientCapacity.", "The requested resource is not available in the location"),),
            Cause.CAPACITY,
        ),
        ("Failed", (("Failed", 'Failed to pull image "etl:9": manifest unknown'),), Cause.CONFIG),
        ("Failed", (("Failed", "Failed to pull image: toomanyrequests"),), Cause.INFRASTRUCTURE),
        ("Failed", (("Failed", 'exec: "x": executable file not found in $PATH'),), Cause.CONFIG),
        ("Failed", (("FailedMountAzureFileVolume", "Permission denied"),), Cause.CONFIG),
        ("Failed", (("Odd", "nobody knows"),), Cause.INFRASTRUCTURE),
        ("Stopped", (), Cause.INFRASTRUCTURE),
        ("Stopped", (("SpotEviction", "The group was evicted"),), Cause.INFRASTRUCTURE),
    ],
)
def test_what_never_ran_or_was_stopped_is_told_by_its_events(
    state: str, events: tuple[tuple[str, str], ...], cause: Cause
) -> None:
    seen = observed(group("Failed", state, events=events))
    assert (seen.phase, seen.cause) == (Phase.FAILED, cause)
    assert not events or events[0][1] in str(seen.reason)


def test_a_container_that_had_to_go_first_and_failed_is_named() -> None:
    told = group(state="Failed", current={"state": "Waiting"})
    view = {"currentState": {"state": "Terminated", "exitCode": 3}}
    done = {"currentState": {"state": "Terminated", "exitCode": 0}}
    inits = [{"name": "ready", "properties": {"instanceView": each}} for each in (done, view)]
    seen = observed({"properties": {**told["properties"], "initContainers": inits}})
    assert (seen.phase, seen.exit_code, seen.cause) == (Phase.FAILED, None, Cause.INFRASTRUCTURE)
    assert seen.reason == "its init container 'ready' ended with exit code 3"


def test_a_stop_by_somebody_else_is_no_success_whatever_the_exit_code() -> None:
    assert observed(group(state="Stopped", current={**ENDED, "exitCode": 0})).cause is Cause.INFRASTRUCTURE


def test_what_holds_a_group_up_is_said_while_it_waits() -> None:
    events = (("Pulling", "pulling image"), ("Failed", "Failed to pull image: not found"), ("Pulling", "again"))
    seen = observed(group("Creating", "Pending", current={"state": "Waiting"}, events=events))
    assert (seen.phase, seen.cause) == (Phase.PENDING, Cause.CONFIG)
    assert seen.reason == "Failed: Failed to pull image: not found"
    assert observed(group("Unhealthy", "Pending")) == UNKNOWN


@pytest.mark.parametrize(
    ("code", "message", "status", "means"),
    [
        ("SubscriptionRequestsThrottled", "slow down", 429, Unavailable),
        ("ContainerGroupQuotaReached", "Resource quota exceeded", 409, Unavailable),
        ("ServiceUnavailable", "not available in the location 'x' at this moment", 409, Unavailable),
        ("InvalidAuthenticationToken", "expired", 401, Unavailable),
        ("ResourceGroupNotFound", "Resource group 'x' could not be found.", 404, Rejected),
        ("InaccessibleImage", "not accessible", 400, Rejected),
        ("ResourceGroupBeingDeleted", "is being deleted", 409, Rejected),
        ("ServiceUnavailable", "the server is busy", 503, Refused),
        ("ContainerGroupTransitioning", "is still transitioning", 409, Refused),
        ("HTTP 408", "", 408, Refused),
    ],
)
def test_a_refusal_is_for_good_for_now_or_says_nothing(
    code: str, message: str, status: int, means: type[Exception]
) -> None:
    assert isinstance(Refused(code, message, status).of_submit(), means)


def test_windows_has_exit_codes_of_its_own() -> None:
    on_windows = group(state="Failed", current={**ENDED, "exitCode": 3221225786})
    on_windows["properties"]["osType"] = "Windows"
    assert observed(on_windows).cause is Cause.USER

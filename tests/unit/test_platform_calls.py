"""Calls to platforms are counted by one rule, whatever the platform, under names that hold nothing of a user's."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from runmesh.executors.amazon import refusals as amazon
from runmesh.executors.azure import arm
from runmesh.executors.azure import refusals as azure
from runmesh.executors.google import refusals as google
from runmesh.executors.kubernetes import client
from runmesh.executors.kubernetes import refusals as kubernetes
from runmesh.platforms.calls import counted, outcome


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kubernetes.Refused(429, "too many requests"), "throttled"),
        (kubernetes.Refused(503, "etcd is away"), "failed"),
        (kubernetes.Refused(401, "Unauthorized"), "unauthenticated"),
        (kubernetes.Refused(404, "jobs.batch not found"), "refused"),
        (amazon.Refused("ThrottlingException", "Rate exceeded"), "throttled"),
        (amazon.Refused("ServerException", "", 500), "failed"),
        (amazon.Refused("ExpiredToken", "the token has expired"), "unauthenticated"),
        (amazon.Refused("ClusterNotFoundException", "no such cluster"), "refused"),
        (google.Refused("RESOURCE_EXHAUSTED", "quota"), "throttled"),
        (google.Refused("UNAVAILABLE", ""), "failed"),
        (google.Refused("UNAUTHENTICATED", ""), "unauthenticated"),
        (google.Refused("ALREADY_EXISTS", ""), "refused"),
        (azure.Refused("TooManyRequests", "", 429), "throttled"),
        (azure.Refused("InternalServerError", "", 500), "failed"),
        (azure.Refused("AuthenticationFailed", "", 401), "unauthenticated"),
        (azure.Refused("ResourceNotFound", "", 404), "refused"),
        (ConnectionError("broke off"), "failed"),
        (TimeoutError(), "failed"),
    ],
    ids=repr,
)
def test_an_outcome_means_the_same_on_every_platform(error: Exception, expected: str) -> None:
    assert outcome(error) == expected


def calls(how: str) -> Any:
    labels = {"platform": "test", "operation": "look", "outcome": how}
    return REGISTRY.get_sample_value("runmesh_platform_calls_total", labels) or 0


def test_every_try_is_counted_and_timed() -> None:
    with counted("test", "look"):
        pass
    with pytest.raises(TimeoutError), counted("test", "look"):
        raise TimeoutError
    assert (calls("ok"), calls("failed")) == (1, 1)
    labels = {"platform": "test", "operation": "look"}
    assert REGISTRY.get_sample_value("runmesh_platform_call_seconds_count", labels) == 2


@pytest.mark.parametrize(
    ("method", "path", "query", "operation"),
    [
        ("POST", "/apis/batch/v1/namespaces/shop/jobs", {}, "POST jobs"),
        ("GET", "/api/v1/namespaces/shop/pods/clean-abc/log", {}, "GET pods/log"),
        ("GET", "/api/v1/namespaces/shop/pods", {"watch": "1"}, "WATCH pods"),
        ("GET", "/version", {}, "GET other"),
    ],
)
def test_a_call_to_kubernetes_has_a_name_without_names(
    method: str, path: str, query: dict[str, str], operation: str
) -> None:
    assert client.operation(method, path, query) == operation


GROUPS = "/subscriptions/1/resourceGroups/shop/providers/Microsoft.ContainerInstance/containerGroups"


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("PUT", f"{GROUPS}/clean-abc", "PUT containerGroups"),
        ("GET", f"https://management.azure.com{GROUPS}?api-version=1&$skiptoken=x/y", "GET containerGroups"),
        ("GET", f"{GROUPS}/clean-abc/containers/main/logs", "GET containerGroups/containers/logs"),
        ("GET", "/subscriptions/1", "GET other"),
    ],
)
def test_a_call_to_azure_has_a_name_without_names(method: str, path: str, operation: str) -> None:
    assert arm.operation(method, path) == operation

"""The Helm chart: what it renders is valid, and bad values are refused."""

import json
import re
from copy import deepcopy

import kubernetes_validate
import pytest
import yaml

from runmesh.executors.kubernetes.config import Config
from runmesh.subjects import ExecutorType
from tests.deploy.helm import (
    CHART,
    CUSTOM,
    NEWEST,
    RELEASE,
    WITH_HELM,
    Chart,
    Json,
    container,
    of_kind,
    only,
    pods,
    validate,
)

pytestmark = WITH_HELM

OLDEST = re.sub(r"\D*(\d+\.\d+).*", r"\1", yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])
PAGE = (CHART.parents[1] / "docs" / "deploy.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


# --- valid ----------------------------------------------------------------------------------------


def test_helm_is_content(chart: Chart) -> None:
    assert "0 chart(s) failed" in chart.lint()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_what_the_defaults_render(chart: Chart, version: str) -> None:
    documents = chart.render()
    assert set(pods(documents)) == {"resolver", "local", "provision"}
    for document in documents:
        validate(document, version)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_everything_at_once(everything: list[Json], version: str) -> None:
    assert {document["kind"] for document in everything} > set(CUSTOM)
    for document in everything:
        validate(document, version)


def test_what_kubernetes_would_not_take_is_noticed(everything: list[Json]) -> None:
    deployment = deepcopy(of_kind(everything, "Deployment")["west"])
    deployment["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="enviroment"):
        validate(deployment, NEWEST)


@pytest.mark.parametrize("kind", ExecutorType)
def test_any_executor_may_be_the_only_one(chart: Chart, kind: ExecutorType) -> None:
    documents = chart.render(only(kind))
    assert set(of_kind(documents, "Deployment")) == {"resolver", "one"}
    pod = pods(documents)["one"]
    assert container(pod)["command"] == ["runmesh", "executor", kind]
    assert pod["spec"]["automountServiceAccountToken"] is (kind == "k8s")
    for document in documents:
        validate(document, NEWEST)


@pytest.mark.parametrize("example", EXAMPLES, ids=",".join)
def test_the_examples_of_the_documentation_are_values_or_configuration(chart: Chart, example: Json) -> None:
    if "k8s_executor_config" in example:
        Config.model_validate(example["k8s_executor_config"])
    else:
        assert pods(chart.render(example))


def test_a_cluster_may_have_executors_alone(chart: Chart) -> None:
    values = {"resolver": {"enabled": False}, "provision": {"enabled": False}, "policy": {"allow_inline": False}}
    assert set(pods(chart.render(values))) == {"local"}


def test_names_are_unique_and_no_longer_than_a_label(everything: list[Json]) -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in everything]
    assert len(names) == len(set(names))
    assert max(len(name) for *_, name in names) <= 63


def test_everything_says_which_release_it_is_of(everything: list[Json]) -> None:
    ours = {"app.kubernetes.io/name": "runmesh", "app.kubernetes.io/instance": RELEASE}
    for each in everything:
        assert each["metadata"]["labels"].items() >= ours.items()
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_whatever_selects_pods_finds_those_of_its_service(everything: list[Json]) -> None:
    found = {name: pod["metadata"]["labels"] for name, pod in pods(everything).items()}
    selectors = [
        (each["metadata"]["labels"]["app.kubernetes.io/component"], selector)
        for each in everything
        for selector in [each["spec"].get("selector", each["spec"].get("podSelector")) if "spec" in each else None]
        if selector and "matchLabels" in selector and each["kind"] != "ServiceMonitor"
    ]
    assert len(selectors) >= 3 * len(ExecutorType)
    for component, selector in selectors:
        matched = [name for name, labels in found.items() if labels.items() >= selector["matchLabels"].items()]
        assert matched == [component]


# --- bad values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"resolvr": {}}, "(root): Additional property resolvr is not allowed"),
        ({"settings": {"max_inflight": 1}}, "settings: Additional property max_inflight is not allowed"),
        ({"settings": {"max_in_flight": 0}}, "settings.max_in_flight: Must be greater than or equal to 1"),
        ({"executors": {"x": {"pool": "a"}}}, "executors.x: type is required"),
        ({"executors": {"x": {"type": "k8"}}}, "executors.x.type: executors.x.type must be one of the following: "),
        ({"executors": {"x": {"type": "k8s", "slots": 0}}}, "executors.x.slots: Must be greater than or equal to 1"),
        ({"executors": {"x": {"type": "k8s", "pool": "a.b"}}}, "executors.x.pool: Does not match pattern "),
        ({"executors": {"resolver": {"type": "k8s"}}}, "executors: Property name of "),
        ({"nats": {"url": "a:4222"}}, "nats.url: Does not match pattern "),
        ({"nats": {"existingsecret": "a"}}, 'nats: Property name of "existingsecret" does not match'),
        ({"nats": {"auth": "users"}}, "nats.existingSecret: with `auth: users` it holds the passwords"),
        ({"nats": {"auth": "password"}}, "nats.auth: nats.auth must be one of the following: "),
        ({"resolver": {"env": {"X": 1}}}, "resolver.env.X: Invalid type. Expected: string, given: integer"),
        ({"keda": {"monitoring": "http://nats:8222"}}, "keda.monitoring: Does not match pattern "),
        ({"nats": {"enabled": False}}, "nats.url: say where NATS is, or set nats.enabled"),
        ({"nats": {"enabled": False, "url": "nats://a"}, "keda": {"enabled": True}}, "keda.monitoring: KEDA needs "),
    ],
    ids=json.dumps,
)
def test_bad_values_are_refused_with_a_line_that_says_which(chart: Chart, values: Json, line: str) -> None:
    refusal = chart.refused(values)
    assert [each for each in refusal if line in each], refusal

"""The Helm chart: what its pods are given is what the services in them know, and no more than they need."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from runmesh.cli.permissions import variable
from runmesh.executor import Task
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base
from runmesh.executors.kubernetes.manifest import manifest
from runmesh.permissions import worker
from runmesh.settings import PREFIX, Settings
from runmesh.subjects import ExecutorType, execute_consumer, execute_stream
from tests.deploy.helm import (
    CHART,
    NAMESPACE,
    RELEASE,
    WITH_HELM,
    Chart,
    Json,
    container,
    environment,
    of_kind,
    only,
    pods,
    validate,
)
from tests.deploy.values import EVERYTHING

pytestmark = WITH_HELM

ROOT: Final = CHART.parents[1]


# --- what the services find -----------------------------------------------------------------------


def test_every_variable_is_a_setting_that_takes_its_value(everything: list[Json], tmp_path: Path) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "services/runmesh/executors").rglob("*.py"))
    executors_own = set(re.findall(rf'"({PREFIX}[A-Z0-9_]+)"', sources))
    for name in ("nats/nkey", "tls/ca.crt", "tls/tls.crt", "tls/tls.key", "policy/policy.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for pod in pods(everything).values():
        names = {each["name"] for each in container(pod)["env"]}
        unknown = {name for name in names if name.startswith(PREFIX)} - executors_own
        assert unknown <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
        given = {name: value.replace("/etc/runmesh", str(tmp_path)) for name, value in environment(pod).items()}
        values = {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}
        assert Settings.model_validate(values).log_burst == 20_000_000


def test_the_schema_knows_the_settings() -> None:
    own = {"projects_dir", "state_dir", "pool", "pools", "slots", "policy", "health_port", "project"}
    settings = Settings.model_json_schema()["properties"]
    expected = {
        name: {key: value for key, value in field.items() if key not in {"title", "default"}}
        for name, field in settings.items()
        if name not in own and not name.startswith("nats_")
    }
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["definitions"]["settings"]["properties"] == expected
    assert schema["definitions"]["executor"]["properties"]["type"]["enum"] == list(ExecutorType)


def test_a_services_own_settings_win_also_where_they_say_no(everything: list[Json]) -> None:
    found = pods(everything)
    assert environment(found["resolver"])["RUNMESH_ALLOW_INLINE"] == "false"
    assert environment(found["west"])["RUNMESH_ALLOW_INLINE"] == "true"
    assert environment(found["resolver"])["DEFAULT_EXECUTOR_TYPE"] == "k8s"


def test_the_streams_are_made_for_all_pools_with_the_lease_of_the_workers(everything: list[Json]) -> None:
    provision = pods(everything)["provision"]
    assert container(provision)["command"] == ["runmesh", "provision"]
    assert environment(provision)["RUNMESH_POOLS"] == "default,eu,west_1"
    assert environment(provision)["RUNMESH_ACK_WAIT"] == "90"


def test_a_cluster_of_ones_own_has_three_copies_however_soon_it_is_asked(chart: Chart) -> None:
    cluster = {"config": {"cluster": {"enabled": True}}}
    made = {
        json.dumps(values): container(pods(chart.render(values))["provision"])["command"][2:]
        for values in ({"nats": cluster}, {"nats": {**cluster, "url": "nats://a"}}, {"provision": {"replicas": 1}}, {})
    }
    assert list(made.values()) == [["--replicas", "3"], [], ["--replicas", "1"], []]


def test_streams_are_looked_at_again_when_anything_about_them_changes(chart: Chart) -> None:
    names = {
        name
        for values in ({}, {"pools": ["eu"]}, {"image": {"tag": "2"}}, {"resolver": {"replicas": 3}})
        for name in of_kind(chart.render(values), "Job")
    }
    assert len(names) == 3


def test_probes_ask_the_port_that_the_service_listens_on(everything: list[Json]) -> None:
    for name, pod in pods(everything).items():
        if name == "provision":
            assert "ports" not in container(pod)
            continue
        [port] = container(pod)["ports"]
        assert environment(pod)["RUNMESH_HEALTH_PORT"] == str(port["containerPort"])
        asked = {probe: container(pod)[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        assert {where["port"] for where in asked.values()} == {port["name"]}
        assert [where["path"] for where in asked.values()] == ["/livez", "/livez", "/readyz"]


def test_a_pod_has_time_to_drain(everything: list[Json], chart: Chart) -> None:
    assert pods(everything)["local-python"]["spec"]["terminationGracePeriodSeconds"] == 150
    assert pods(chart.render())["local"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_local_jobs_are_a_few_unless_told_and_not_as_many_as_the_node_has_cores(chart: Chart) -> None:
    assert environment(pods(chart.render())["local"])["RUNMESH_SLOTS"] == "4"
    assert "RUNMESH_SLOTS" not in environment(pods(chart.render(only("ecs")))["one"])


def test_names_that_yaml_reads_as_something_else_stay_names(chart: Chart) -> None:
    documents = chart.render({"executors": {"local": None, "on": {"type": "ecs", "env": {"NO": "no", "Y": "1"}}}})
    assert environment(pods(documents)["on"]).items() >= {"NO": "no", "Y": "1"}.items()
    for document in documents:
        validate(document)


def test_a_service_asks_for_something_whether_told_or_not(everything: list[Json]) -> None:
    assert all(container(pod)["resources"]["requests"] for pod in pods(everything).values())
    assert pods(everything)["west"]["spec"]["priorityClassName"] == "batch"


# --- safe -----------------------------------------------------------------------------------------


def test_no_service_is_root_or_writes_anywhere_but_to_its_empty_directories(everything: list[Json]) -> None:
    for pod in pods(everything).values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        empty = {volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume}
        mounted = {mount["mountPath"] for mount in container(pod)["volumeMounts"] if mount["name"] in empty}
        assert mounted == {environment(pod)["RUNMESH_STATE_DIR"], "/tmp"}  # noqa: S108 - of the pod
        assert environment(pod)["HOME"] in mounted


def test_a_service_reads_the_secret_that_is_its_own(everything: list[Json]) -> None:
    secrets = {
        name: {each["name"]: each["secret"]["secretName"] for each in pod["spec"]["volumes"] if "secret" in each}
        for name, pod in pods(everything).items()
    }
    assert secrets.pop("west") == {"nats": "west", "tls": "tls"}
    assert all(each == {"nats": "login", "tls": "tls"} for each in secrets.values())


@pytest.mark.parametrize(
    ("auth", "keys", "files"),
    [
        ("token", {"TOKEN": "token"}, {}),
        ("user", {"USER": "user", "PASSWORD": "password"}, {}),
        ("nkey", {}, {"NKEY": "/etc/runmesh/nats/nkey"}),
        ("credentials", {}, {"CREDENTIALS": "/etc/runmesh/nats/credentials"}),
    ],
)
def test_a_secret_is_used_as_what_it_is(chart: Chart, auth: str, keys: Json, files: Json) -> None:
    pod = pods(chart.render({"nats": {"existingSecret": "login", "auth": auth}}))["resolver"]
    login = {
        each["name"].removeprefix("RUNMESH_NATS_"): each.get("value") or each["valueFrom"]["secretKeyRef"]
        for each in container(pod)["env"]
        if each["name"].startswith("RUNMESH_NATS_") and each["name"] != "RUNMESH_NATS_URL"
    }
    assert login.pop("INBOX") == {"name": "login", "key": "inbox", "optional": True}
    assert login == {**{name: {"name": "login", "key": key} for name, key in keys.items()}, **files}
    assert [volume["name"] for volume in pod["spec"]["volumes"] if "secret" in volume] == (["nats"] if files else [])


def test_each_service_is_a_user_of_its_own_by_one_secret(chart: Chart) -> None:
    executors = {"local": None, "ecs": {"type": "ecs"}, "west": {"type": "gcp_cloud_run", "pool": "west_1"}}
    values = {
        "nats": {"existingSecret": "passwords", "auth": "users"},
        "executors": executors,
        "keda": {"enabled": True},
    }
    documents = chart.render(values)
    for pod in pods(documents).values():
        known = environment(pod)
        [password] = [each["valueFrom"]["secretKeyRef"] for each in container(pod)["env"] if "valueFrom" in each]
        user = known["RUNMESH_NATS_USER"]
        assert password == {"name": "passwords", "key": variable(user)}
        assert known["RUNMESH_NATS_INBOX"] == f"_INBOX.{user}"
    assert {environment(pod)["RUNMESH_NATS_USER"] for pod in pods(documents).values()} == {
        "resolver",
        "provisioner",
        worker("ecs", "default").name,
        worker("gcp_cloud_run", "west_1").name,
    }
    for scaled in of_kind(documents, "ScaledObject").values():
        assert scaled["spec"]["triggers"][0]["metadata"]["account"] == "MESH"


def rules(documents: list[Json]) -> list[Json]:
    [rules] = {json.dumps(each["rules"]) for each in documents if each and each["kind"] == "Role"}
    found: list[Json] = json.loads(rules)
    return found


def test_a_kubernetes_worker_may_do_what_the_role_in_deploy_says(everything: list[Json]) -> None:
    assert rules(everything) == rules(list(yaml.safe_load_all((ROOT / "deploy/k8s/role.yaml").read_text())))
    roles = [each["metadata"] for each in everything if each["kind"] == "Role"]
    places = {(role["labels"]["app.kubernetes.io/component"], role["namespace"]) for role in roles}
    assert places == {("k8s", NAMESPACE), ("west", NAMESPACE), ("west", "batch")}
    assert environment(pods(everything)["west"])["RUNMESH_K8S_NAMESPACES"] == "batch"
    for binding in (each for each in everything if each["kind"] == "RoleBinding"):
        component = binding["metadata"]["labels"]["app.kubernetes.io/component"]
        account = pods(everything)[component]["spec"]["serviceAccountName"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
        assert account in {each["metadata"]["name"] for each in everything if each["kind"] == "ServiceAccount"}


def test_services_reach_nats_and_no_more_than_they_need(everything: list[Json]) -> None:
    policies = of_kind(everything, "NetworkPolicy")
    names = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    nats = [{"port": 4222}, {"port": 4443}]
    assert policies["resolver"]["spec"]["egress"] == [{"ports": names}, {"ports": nats}]
    assert policies["provision"]["spec"]["egress"] == [{"ports": names}, {"ports": nats}]
    assert policies["west"]["spec"]["egress"] == [{"ports": names}, {"ports": nats}, {"ports": [{"port": 443}]}]
    assert policies["ecs"]["spec"]["egress"] == [{}]
    assert policies["resolver"]["spec"]["ingress"] == [{"ports": [{"port": "health"}]}]
    assert policies["provision"]["spec"]["ingress"] == []


def test_nobody_else_connects_to_the_nats_of_a_release_that_says_who_may(chart: Chart) -> None:
    caller = {"namespaceSelector": {"matchLabels": {"team": "data"}}}
    policy = of_kind(chart.render({"networkPolicy": {"natsFrom": [caller]}}), "NetworkPolicy")["nats"]
    own = {
        "app.kubernetes.io/name": "nats",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": "nats",
    }
    assert policy["spec"]["podSelector"] == {"matchLabels": own}
    [_, clients] = policy["spec"]["ingress"]
    [services, given] = clients["from"]
    for pod in pods(chart.render()).values():
        assert pod["metadata"]["labels"].items() >= services["podSelector"]["matchLabels"].items()
    assert given == caller
    assert "nats" not in of_kind(chart.render(), "NetworkPolicy")


def test_a_drain_of_a_node_takes_one_pod_of_a_service_at_a_time(everything: list[Json]) -> None:
    budgets = of_kind(everything, "PodDisruptionBudget")
    assert set(budgets) == set(of_kind(everything, "Deployment"))
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets.values())


# --- volumes --------------------------------------------------------------------------------------


def test_jobs_have_the_volumes_of_their_worker_but_not_what_it_connects_with(everything: list[Json]) -> None:
    worker = pods(everything)["west"]
    assert environment(worker)["MAGE_CONTAINER_NAME"] == container(worker)["name"]
    job = job_of(worker)
    validate(job)
    pod = job["spec"]["template"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    found = {mount["mountPath"]: volumes.pop(mount["name"]) for mount in container(pod)["volumeMounts"]}
    assert volumes == {}
    assert found["/variables"]["persistentVolumeClaim"] == {"claimName": "variables"}
    assert found["/projects"]["persistentVolumeClaim"] == {"claimName": "projects", "readOnly": True}
    assert found["/etc/ca"]["configMap"] == {"name": "ca"}
    secret = {"/etc/runmesh/nats", "/etc/runmesh/tls"}
    assert {mount["mountPath"] for mount in container(worker)["volumeMounts"]} - set(found) == secret
    assert environment(pod)["MAGE_DATA_DIR"] == "/variables"
    assert not [each for each in container(pod)["env"] if "_NATS_" in each["name"]]
    assert container(pod)["image"] == "registry.example/k8s:7"


def job_of(worker: Json) -> Json:
    """Return the Job that a worker in this pod makes for a task whose configuration says nothing."""
    base = Base.of_pod(worker, environment(worker)["MAGE_CONTAINER_NAME"])
    task = Task("key", "run", "load", 1, 0, "shop", "orders", ("runmesh-run", "/projects/shop"), {}, Config())
    return manifest(task, base, mesh="runmesh", pool="west_1")


def test_worker_jobs_and_resolver_agree_on_where_variables_are(everything: list[Json]) -> None:
    found = pods(everything)
    told = {name for name, pod in found.items() if environment(pod).get("MAGE_DATA_DIR") == "/variables"}
    assert told == {"resolver", "local-python", "k8s", "west"}
    claims = {
        name: {volume["name"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume}
        for name, pod in found.items()
    }
    assert claims["resolver"] == claims["pyspark"] == {"projects"}
    assert claims["local-python"] == claims["k8s"] == {"projects", "variables"}
    assert claims["ecs"] == claims["provision"] == set()


def test_the_policy_is_a_file_of_the_resolver_which_starts_again_when_it_changes(
    everything: list[Json], chart: Chart
) -> None:
    policy = of_kind(everything, "ConfigMap")["policy"]
    assert yaml.safe_load(policy["data"]["policy.yaml"]) == EVERYTHING["policy"]
    found = pods(everything)
    assert environment(found["resolver"])["RUNMESH_POLICY"] == "/etc/runmesh/policy/policy.yaml"
    assert "RUNMESH_POLICY" not in environment(found["west"])
    changed = pods(chart.render({**EVERYTHING, "policy": {"allow_inline": False}}))["resolver"]["metadata"]
    assert changed["annotations"] != found["resolver"]["metadata"]["annotations"]
    assert changed["annotations"]["note"] == "x"


# --- scaling and monitoring -----------------------------------------------------------------------


def test_each_executor_is_scaled_by_its_own_queue(everything: list[Json]) -> None:
    deployments = of_kind(everything, "Deployment")
    scaled = of_kind(everything, "ScaledObject")
    assert set(scaled) == set(deployments) - {"resolver"}
    for name, each in scaled.items():
        deployment = deployments[each["spec"]["scaleTargetRef"]["name"].removeprefix(f"{RELEASE}-runmesh-")]
        assert "replicas" not in deployment["spec"]
        kind = container(deployment["spec"]["template"])["command"][-1]
        [trigger] = each["spec"]["triggers"]
        assert trigger["type"] == "nats-jetstream"
        assert trigger["metadata"]["stream"] == execute_stream(kind)
        assert trigger["metadata"]["consumer"] == execute_consumer(EVERYTHING["executors"][name].get("pool", "default"))
        assert all(isinstance(value, str) for value in trigger["metadata"].values())  # as KEDA wants them
    targets = {name: each["spec"]["triggers"][0]["metadata"]["lagThreshold"] for name, each in scaled.items()}
    assert (targets["local-python"], targets["k8s"], targets["west"]) == ("8", "1000", "500")
    limits = scaled["west"]["spec"]
    assert (limits["minReplicaCount"], limits["maxReplicaCount"]) == (0, 3)


def test_the_monitoring_of_the_nats_that_comes_along_is_known(chart: Chart) -> None:
    [scaled] = of_kind(chart.render({"keda": {"enabled": True}}), "ScaledObject").values()
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["natsServerMonitoringEndpoint"] == f"{RELEASE}-nats-headless.{NAMESPACE}:8222"
    assert environment(pods(chart.render())["local"])["RUNMESH_NATS_URL"] == f"nats://{RELEASE}-nats.{NAMESPACE}:4222"


def test_prometheus_finds_every_service(everything: list[Json]) -> None:
    [monitor] = of_kind(everything, "ServiceMonitor").values()
    [service] = of_kind(everything, "Service").values()
    assert service["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    [endpoint], [port] = monitor["spec"]["endpoints"], service["spec"]["ports"]
    assert (endpoint["port"], endpoint["path"], port["targetPort"]) == (port["name"], "/metrics", "health")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    for pod in pods(everything).values():
        assert pod["metadata"]["labels"].items() >= service["spec"]["selector"].items()


def test_alerts_and_dashboard_are_those_of_deploy_monitoring(everything: list[Json]) -> None:
    monitoring = ROOT / "deploy" / "monitoring"
    [alerts] = of_kind(everything, "PrometheusRule").values()
    assert alerts["spec"] == yaml.safe_load((monitoring / "alerts.yaml").read_text())
    assert alerts["metadata"]["labels"]["release"] == "prometheus"
    dashboard = of_kind(everything, "ConfigMap")["dashboard"]
    assert dashboard["data"] == {"runmesh.json": (monitoring / "dashboard.json").read_text()}
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    [monitor] = of_kind(everything, "ServiceMonitor").values()
    assert monitor["spec"]["endpoints"][0]["relabelings"] == [{"targetLabel": "mesh", "replacement": "runmesh"}]

"""What a Kubernetes Job can be configured with: any spelling, one place for each thing, and errors that say where."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runmesh.errors import Invalid, Problem
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.fields import TYPES
from runmesh.executors.kubernetes.shapes import read
from runmesh.executors.kubernetes.spelling import SHORTHANDS
from runmesh.resolver import policy
from tests.unit.shop import Shop, levels, said


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def k8s(shop: Shop, config: Any, **rest: Any) -> Any:
    return shop.load({"executor_type": "k8s", "executor_config": config}, **rest)


def config(**keys: Any) -> Config:
    return Config.model_validate(keys)


def pod(**keys: Any) -> dict[str, Any]:
    return config(**keys).pod


# --- spelling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["image_pull_policy", "imagePullPolicy", "ImagePullPolicy"])
def test_any_spelling_of_a_field_is_understood(key: str) -> None:
    assert config(container={key: "Always"}).container == {"imagePullPolicy": "Always"}
    assert config(**{key: "Always"}).container == {"imagePullPolicy": "Always"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"host_pid": True}, {"hostPID": True}),
        ({"dns_config": {"options": [{"name": "a_b"}]}}, {"dnsConfig": {"options": [{"name": "a_b"}]}}),
        ({"set_hostname_as_fqdn": True}, {"setHostnameAsFQDN": True}),
        (
            {"volumes": [{"name": "d", "downward_api": {"items": [{"path": "x", "field_ref": {"field_path": "y"}}]}}]},
            {"volumes": [{"name": "d", "downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "y"}}]}}]},
        ),
        (
            {
                "init_containers": [
                    {"name": "i", "env": [{"name": "A", "value_from": {"config_map_key_ref": {"key": "k"}}}]}
                ]
            },
            {"initContainers": [{"name": "i", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"key": "k"}}}]}]},
        ),
        (
            {"volumes": [{"name": "e", "ephemeral": {"volume_claim_template": {"spec": {"access_modes": ["RWO"]}}}}]},
            {"volumes": [{"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["RWO"]}}}}]},
        ),
    ],
)
def test_fields_are_understood_at_any_depth(written: dict[str, Any], meant: dict[str, Any]) -> None:
    assert pod(pod=written) == pod(pod=meant) == meant


def test_keys_that_are_the_users_own_stay_as_they_are() -> None:
    found = config(
        node_selector={"node_type": "gpu", "k8s.io/x_y": "z"},
        labels={"my_label": "a", "myLabel": "b"},
        resource_limits={"example.com/my_device": 1},
    )
    assert found.pod == {"nodeSelector": {"node_type": "gpu", "k8s.io/x_y": "z"}}
    assert found.metadata == {"labels": {"my_label": "a", "myLabel": "b"}}
    assert found.resource_limits == {"example.com/my_device": 1}


def test_numbers_and_flags_become_text_where_only_text_is_allowed() -> None:
    found = config(
        environment={"A": 1, "B": True}, annotations={"x": 1.5}, container={"env": [{"name": "C", "value": 3}]}
    )
    assert found.environment == {"A": "1", "B": "true"}
    assert found.metadata == {"annotations": {"x": "1.5"}}
    assert found.container == {"env": [{"name": "C", "value": "3"}]}


def test_text_becomes_a_number_or_a_flag_where_only_these_are_allowed() -> None:
    assert config(job={"backoff_limit": "3", "suspend": "true"}).job == {"backoffLimit": 3, "suspend": True}


def spelled(name: str) -> st.SearchStrategy[str]:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return st.sampled_from([name, snake, name.lower()])


@st.composite
def objects(draw: st.DrawFn, kind: str, depth: int = 3) -> dict[str, Any]:
    """Any object of a type, in any spelling."""
    fields = draw(st.lists(st.sampled_from(list(TYPES[kind].values())), max_size=3, unique_by=lambda each: each.name))
    found: dict[str, Any] = {}
    scalars = {
        "": st.text("ab", max_size=3),
        "#": st.integers(0, 9),
        "?": st.booleans(),
        "%": st.just("1Gi"),
        "*": st.none(),
    }
    for field in fields:
        if field.type and not depth:
            continue
        one = objects(field.type, depth - 1) if field.type else scalars[field.mark]
        many = {"[]": st.lists(one, max_size=2), "{}": st.dictionaries(st.text("aB_", min_size=1), one, max_size=2)}
        found[draw(spelled(field.name))] = draw(many.get(field.many, one))
    return found


@given(st.sampled_from(sorted(TYPES)).flatmap(lambda kind: st.tuples(st.just(kind), objects(kind))))
def test_reading_an_object_twice_changes_nothing_more(given: tuple[str, dict[str, Any]]) -> None:
    kind, written = given
    once, flaws = read(kind, written)
    assert flaws == ()
    assert read(kind, once) == (once, ())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "container": objects("Container"),
            "container_config": objects("Container"),
            "pod": objects("PodSpec"),
            "job": objects("JobSpec"),
            "metadata": objects("ObjectMeta"),
            "resource_limits": st.just({"cpu": 1}),
            "patch": objects("Job"),
            "securityContext": objects("SecurityContext") | objects("PodSecurityContext"),
            "serviceAccountName": st.just("x"),
            "tolerations": st.just([{"key": "a"}]),
            "unknown": st.just(1),
        },
    )
)
def test_the_canonical_spelling_is_its_own(written: dict[str, Any]) -> None:
    once = Config.canonical(written)
    assert Config.canonical(once) == once


# --- one place for each thing ---------------------------------------------------------------------


def test_what_concerns_an_object_may_be_written_at_the_top() -> None:
    found = config(
        image="x",
        env_from=[{"secret_ref": {"name": "s"}}],
        host_aliases=[{"ip": "1.2.3.4", "hostnames": ["a"]}],
        priority_class_name="high",
        runtime_class_name="gvisor",
        topology_spread_constraints=[{"max_skew": 1}],
        ttl_seconds_after_finished=60,
        backoffLimit=2,
        annotations={"karpenter.sh/do-not-disrupt": "true"},
    )
    assert found.container == {"image": "x", "envFrom": [{"secretRef": {"name": "s"}}]}
    assert found.pod == {
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "topologySpreadConstraints": [{"maxSkew": 1}],
    }
    assert found.job == {"ttlSecondsAfterFinished": 60, "backoffLimit": 2}
    assert found.metadata == {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}


def test_every_shorthand_is_known(shop: Shop) -> None:
    assert [problem.message for name in SHORTHANDS for problem in k8s(shop, {name: None}).errors] == []


def test_a_security_context_goes_where_its_fields_are_known() -> None:
    found = config(security_context={"fs_group": 1, "run_as_user": 2, "capabilities": {"drop": ["ALL"]}})
    assert found.pod == {"securityContext": {"fsGroup": 1}}
    assert found.container == {"securityContext": {"runAsUser": 2, "capabilities": {"drop": ["ALL"]}}}


def test_resources_at_the_top_take_the_place_of_the_containers() -> None:
    container = {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": 1}}}
    found = config(container=container, resource_limits={"memory": "8Gi"})
    assert (found.resource_limits, found.resource_requests) == ({"memory": "8Gi"}, {})
    alone = config(container=container)
    assert (alone.resource_limits, alone.resource_requests) == ({"cpu": 1, "memory": "1Gi"}, {"cpu": 1})


def test_container_config_is_the_container_once_more_and_wins() -> None:
    found = config(
        container={
            "image": "weak",
            "workingDir": "/w",
            "env": [{"name": "A", "value": "weak"}, {"name": "B", "value": "b"}],
        },
        container_config={
            "image": "strong",
            "env": [{"name": "A", "value": "strong"}],
            "resources": {"limits": {"cpu": 1}},
        },
        resource_limits={"cpu": 2},
    )
    assert found.container == {
        "name": "mage-data",
        "image": "strong",
        "workingDir": "/w",
        "env": [{"name": "A", "value": "strong"}, {"name": "B", "value": "b"}],
    }
    assert found.resource_limits == {"cpu": 1}


def test_the_namespace_of_the_metadata_is_the_stronger_one() -> None:
    found = config(namespace="weak", metadata={"namespace": "strong", "labels": {"a": "b"}})
    assert (found.namespace, found.metadata) == ("strong", {"labels": {"a": "b"}})
    assert config(namespace="kept", metadata={"labels": {}}).namespace == "kept"


def test_the_service_account_at_the_top_is_the_stronger_one() -> None:
    assert config(service_account_name="strong", pod={"service_account_name": "weak"}).service_account_name == "strong"
    assert config(pod={"service_account_name": "only"}).service_account_name == "only"
    assert config().service_account_name == "default"


def test_levels_that_spell_one_thing_differently_are_merged(shop: Shop) -> None:
    found = k8s(
        shop,
        {"container": {"image_pull_policy": "Always"}, "tolerations": [{"key": "mine"}]},
        project={
            "k8s_executor_config": {
                "container": {"imagePullPolicy": "Never", "image": "x"},
                "pod": {"tolerations": [{"key": "theirs"}], "scheduler_name": "custom"},
                "container_config": {"workingDir": "/w"},
            }
        },
    )
    assert found.errors == ()
    assert said(found) == {
        "container": {"imagePullPolicy": "Always", "image": "x", "workingDir": "/w", "name": "mage-data"},
        "pod": {"tolerations": [{"key": "mine"}], "schedulerName": "custom"},
    }
    assert levels(found)["pod.tolerations"] == "block"


# --- forms that people use ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["secret", ["secret"], {"name": "secret"}, [{"name": "secret"}]], ids=["name", "names", "object", "list"]
)
def test_pull_secrets_may_be_names(written: Any) -> None:
    assert pod(pod={"image_pull_secrets": written}) == {"imagePullSecrets": [{"name": "secret"}]}


TERM = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
NODES = [{"matchExpressions": [{"key": "t", "operator": "In", "values": ["a"]}]}]
REQUIRED, PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": NODES}}}, None),
        ({"nodeAffinity": {REQUIRED: NODES}}, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": NODES}}}),
        ({"nodeAffinity": {PREFERRED: [{"weight": 100, "preference": NODES[0]}]}}, None),
        ({"podAffinity": {REQUIRED: [TERM]}}, None),
        ({"podAntiAffinity": {REQUIRED: [TERM]}}, None),
        ({"podAntiAffinity": {REQUIRED: [{"weight": 1, **TERM}]}}, {"podAntiAffinity": {REQUIRED: [TERM]}}),
        ({"podAffinity": {PREFERRED: [{"weight": 5, "podAffinityTerm": TERM}]}}, None),
        (
            {"podAffinity": {PREFERRED: [{"weight": 5, **TERM}]}},
            {"podAffinity": {PREFERRED: [{"weight": 5, "podAffinityTerm": TERM}]}},
        ),
        (
            {"pod_affinity": {"required_during_scheduling_ignored_during_execution": [{"topology_key": "zone"}]}},
            {"podAffinity": {REQUIRED: [{"topologyKey": "zone"}]}},
        ),
    ],
)
def test_affinity_has_all_its_forms(written: dict[str, Any], meant: dict[str, Any] | None) -> None:
    assert pod(affinity=written) == {"affinity": meant or written}


def test_what_only_kubernetes_knows_is_skipped_where_the_block_runs_locally(shop: Shop) -> None:
    found = shop.load({"executor_config": {"tolerations": [], "queue_name": "q", "resource_limits": {"cpu": 1}}})
    assert (found.executor_type, found.errors) == ("local_python", ())
    assert found.skipped[-1].level == "block"


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "path", "message", "hint"),
    [
        ({"tolerationz": []}, "tolerationz", "unknown key 'tolerationz'", "did you mean 'tolerations'?"),
        ({"pod": {"node_selektor": {}}}, "pod.node_selektor", "unknown key 'node_selektor'", "nodeSelector"),
        ({"tolerations": [{"kye": 1}]}, "pod.tolerations.0.kye", "unknown key 'kye'", "did you mean 'key'?"),
        ({"container_config": "{"}, "container_config", "can't be '{'", ""),
        ({"security_context": 5}, "security_context", "can't be 5", ""),
        ({"pod": {"tolerations": {"key": 1}}}, "pod.tolerations", "should be a list", ""),
        ({"pod": {"volumes": ["data"]}}, "pod.volumes.0", "should be a mapping", ""),
        ({"pod": 1}, "pod", "should be a mapping", ""),
        ({"resource_limits": {"cpu": "lots"}}, "resource_limits.cpu", "should be a quantity", "500m"),
        ({"resource_limits": {"cpu": -1}}, "resource_limits.cpu", "should be a quantity", ""),
        ({"container": {"resources": {"requests": {"memory": "1Gib"}}}}, "resource_requests.memory", "quantity", ""),
        ({"job": {"backoff_limit": "many"}}, "job.backoffLimit", "should be a whole number", ""),
        ({"job": {"template": {}}}, "job.template", "the mesh sets it itself", "pod"),
        ({"container": {"command": ["x"]}}, "container.command", "the mesh sets it itself", ""),
        ({"sidecars": [{"nmae": "x"}]}, "sidecars.0.nmae", "unknown key 'nmae'", "did you mean 'name'?"),
        ({"url": "https://x/{pood}"}, "url", "unknown placeholder {pood}", ""),
        ({"patch": [{"op": "ad", "path": "/spec"}]}, "patch", "unknown op 'ad'", ""),
        ({"patch": [{"op": "add", "path": "spec", "value": 1}]}, "patch", "a path begins with /", ""),
    ],
)
def test_a_mistake_is_found_at_planning_with_its_path_and_what_is_meant(
    shop: Shop, written: dict[str, Any], path: str, message: str, hint: str
) -> None:
    (problem,) = k8s(shop, written).errors
    assert problem.path == f"block load: executor_config.{path}"
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_all_mistakes_of_a_configuration_are_found() -> None:
    with pytest.raises(ValidationError) as raised:
        config(a=1, pod={"b": 1}, container={"c": 1}, resource_limits={"cpu": "d"}, job={"template": {}})
    assert raised.value.error_count() == 5


# --- the trigger's name ---------------------------------------------------------------------------


@pytest.mark.parametrize(("trigger", "prefix"), [("Daily Load_2", "nightly-Daily Load_2"), (None, "nightly-")])
def test_the_triggers_name_is_put_into_the_jobs(shop: Shop, trigger: str | None, prefix: str) -> None:
    request = {"trigger_name": trigger} if trigger else {}
    found = k8s(shop, {"job_name_prefix": "nightly-{trigger_name}"}, request=request)
    assert found.config["job_name_prefix"] == prefix


# --- Mage's configuration file --------------------------------------------------------------------


TEMPLATE = {
    "metadata": {"labels": {"type": "spark"}, "namespace": "from-file"},
    "pod": {"image_pull_secrets": "my-registry-secret"},
    "container": {"image": "mageai/mageai:latest", "resources": {"limits": {"cpu": "1"}}},
}


def test_the_file_of_the_environment_is_a_level_above_its_variables(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "k8s.yaml").write_text(yaml.safe_dump(TEMPLATE))
    found = k8s(
        shop,
        {"resource_limits": {"memory": "1Gi"}},
        environment={"K8S_CONFIG_FILE": str(tmp_path / "k8s.yaml"), "KUBE_NAMESPACE": "from-variable"},
        project={"k8s_executor_config": {"image": "ours"}},
    )
    assert found.errors == ()
    assert said(found) == {
        "namespace": "from-file",
        "metadata": {"labels": {"type": "spark"}},
        "pod": {"imagePullSecrets": [{"name": "my-registry-secret"}]},
        "container": {"image": "ours"},
        "resource_limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert levels(found)["pod.imagePullSecrets"] == "environment"


def test_the_file_may_say_of_something_that_it_is_nothing(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "k8s.yaml").write_text("{namespace: null, service_account_name: ''}")
    found = k8s(shop, {}, environment={"K8S_CONFIG_FILE": str(tmp_path / "k8s.yaml"), "KUBE_NAMESPACE": "batch"})
    assert found.errors == ()
    assert said(found) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [("pod: {volumez: []}", "pod.volumez"), ("- 1", "must be a mapping"), ("{", "is no YAML"), (None, "can't be read")],
)
def test_a_file_that_is_wrong_says_so_before_anything_runs(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "k8s.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Invalid) as raised:
        policy.read({"K8S_CONFIG_FILE": str(file)})
    (problem,) = raised.value.problems
    assert str(file) in problem.path
    assert message in str(problem)


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize(
    ("key", "default"), [("service_account_name", "default"), ("job_name_prefix", "data-prep"), ("namespace", None)]
)
def test_an_empty_name_is_none_as_in_mage(shop: Shop, key: str, default: str | None, empty: str | None) -> None:
    found = k8s(shop, {key: empty}, project={"k8s_executor_config": {key: "ours"}})
    assert (found.errors, found.config.get(key)) == ((), default)


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [(("", "of-pod"), "of-pod"), (("ours", "of-pod"), "ours"), (("ours", ""), "ours"), (("", ""), "default")],
)
def test_the_pods_account_counts_where_no_other_is_named(shop: Shop, accounts: tuple[str, str], expected: str) -> None:
    own, of_pod = accounts
    found = k8s(shop, {"service_account_name": own, "pod": {"service_account_name": of_pod}})
    assert found.config["service_account_name"] == expected


def test_an_empty_container_config_names_no_container(shop: Shop) -> None:
    assert "name" not in k8s(shop, {"container_config": {}}).config.get("container", {})


def test_a_file_that_a_project_names_is_ignored_as_in_mage(shop: Shop) -> None:
    found = k8s(shop, {"config_file": "/etc/passwd"})
    assert found.errors == ()
    assert Problem("k8s: config_file", "is ignored, as in Mage", "the resolver's K8S_CONFIG_FILE names the file") in (
        *found.warnings,
        *shop.ask({"executor_type": "k8s", "executor_config": {"config_file": "x"}}).warnings,
    )


# --- the documentation ----------------------------------------------------------------------------


def test_the_examples_of_the_documentation_are_right(shop: Shop) -> None:
    page = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    keys = ("k8s_executor_config", "executor_config")
    configs = [example[key] for example in examples for key in keys if key in example]
    assert len(configs) >= 3
    assert [problem for written in configs for problem in k8s(shop, written).errors] == []


# --- guard rails ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forbidden", "written"),
    [
        ("pod.volumes", {"volumes": []}),
        ("volumes", {"pod": {"volumes": []}}),
        ("pod.host_network", {"pod": {"hostNetwork": True}}),
        ("container.image", {"container_config": {"image": "x"}}),
        ("image", {"container": {"image": "x"}}),
        ("container_config", {"image": "x"}),
        ("metadata.namespace", {"namespace": "x"}),
        ("namespace", {"metadata": {"namespace": "x"}}),
        ("pod.serviceAccountName", {"service_account_name": "x"}),
        ("container.resources", {"resource_limits": {"cpu": 1}}),
        ("security_context", {"pod": {"security_context": {"run_as_user": 0}}}),
        ("pod.volumes", {"patch": {"spec": {"template": {"spec": {"volumes": []}}}}}),
    ],
)
def test_what_is_forbidden_is_forbidden_in_every_spelling(
    shop: Shop, tmp_path: Path, forbidden: str, written: dict[str, Any]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"executors": {"k8s": {"forbid": [forbidden]}}}))
    found = shop.ask({"executor_type": "k8s", "executor_config": written}, environment={"RUNMESH_POLICY": str(file)})
    assert len(found.errors) == 1
    assert "the policy forbids" in found.errors[0].message


@pytest.mark.parametrize(
    ("maximum", "written"),
    [
        ({"resourceLimits": {"cpu": 2}}, {"resource_limits": {"cpu": 3}}),
        ({"resource_limits": {"cpu": 2}}, {"container": {"resources": {"limits": {"cpu": "3"}}}}),
        ({"container_config.resources.limits.cpu": 2}, {"resource_limits": {"cpu": 3}}),
        ({"resource_limits": {"nvidia.com/gpu": 2}}, {"container": {"resources": {"limits": {"nvidia.com/gpu": 3}}}}),
        ({"job.active_deadline_seconds": 2}, {"activeDeadlineSeconds": 3}),
        ({"active_deadline_seconds": 2}, {"job": {"active_deadline_seconds": "3"}}),
        ({"pod": {"termination_grace_period_seconds": 2}}, {"grace_period": 3}),
    ],
)
def test_a_maximum_holds_in_every_spelling(
    shop: Shop, tmp_path: Path, maximum: dict[str, Any], written: dict[str, Any]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"executors": {"k8s": {"max": maximum}}}))
    found = k8s(shop, written, environment={"RUNMESH_POLICY": str(file)})
    assert any("the policy allows 2 at most" in problem.message for problem in found.errors)


def resources(cpu: Any) -> dict[str, Any]:
    return {"resources": {"limits": {"cpu": cpu}}}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"resource_limits": {"cpu": 2}, "sidecars": [{"name": "s", **resources("500m")}]}, "2 + 500m"),
        ({"sidecars": [{"name": "a", **resources(1)}, {"name": "b", **resources("1500m")}]}, "1 + 1500m"),
        ({"init_containers": [{"name": "i", **resources(3)}]}, "pod.initContainers.0.resources.limits.cpu is 3"),
        (
            {"pod": {"init_containers": [{"name": "i", **resources(1)}]}, "sidecars": [{"name": "s", **resources(2)}]},
            "pod.initContainers.0.resources.limits.cpu is 1 + 2",
        ),
        ({"init_containers": [{"name": "s", "restart_policy": "Always", **resources(3)}]}, "sidecars is 3"),
        ({"pod": {"resources": {"limits": {"cpu": 3}}}}, "pod.resources.limits.cpu is 3"),
    ],
)
def test_a_maximum_holds_for_all_that_runs_in_the_pod(
    shop: Shop, tmp_path: Path, written: dict[str, Any], told: str
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"executors": {"k8s": {"max": {"resource_limits": {"cpu": 2}}}}}))
    found = k8s(shop, written, environment={"RUNMESH_POLICY": str(file)})
    assert any(f"{told}, the policy allows 2 at most" in problem.message for problem in found.errors), found.errors


def test_what_the_pod_asks_for_within_its_maximum_is_allowed(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"executors": {"k8s": {"max": {"resource_limits": {"cpu": 2}}}}}))
    written = {
        "resource_limits": {"cpu": 1},
        "sidecars": [{"name": "s", **resources("500m")}, {"name": "t"}],
        "init_containers": [{"name": "i", **resources("1500m")}],
    }
    assert k8s(shop, written, environment={"RUNMESH_POLICY": str(file)}).errors == ()

"""The installation's policy: what every project and request gets, may at most ask for, and may not set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.errors import Invalid, Problem
from runmesh.events import RunRequest
from runmesh.projects import load_pipeline, load_project
from runmesh.resolver.choice import Skipped
from runmesh.resolver.explain import explain_pipeline
from runmesh.resolver.explanation import BlockExplanation, Explanation
from runmesh.resolver.policy import Policy, read
from runmesh.resolver.refusals import Rules
from tests.unit.shop import Shop, levels, said

Document = Mapping[str, Any]


class Guarded(Shop):
    """The shop, under a policy."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.file = directory / "policy.yaml"

    def under(self, policy: Document, *blocks: Document, **rest: Any) -> Explanation:
        """Explain under a policy; unless a block says otherwise, it runs on k8s."""
        self.file.write_text(yaml.safe_dump(policy))
        environment = {"DEFAULT_EXECUTOR_TYPE": "k8s", "RUNMESH_POLICY": str(self.file), **rest.pop("environment", {})}
        return self.ask(*blocks, environment=environment, **rest)

    def k8s(self, section: Document, config: Document | None = None, **rest: Any) -> BlockExplanation:
        """Explain one block on k8s under a policy for k8s."""
        return self.under({"executors": {"k8s": section}}, {"executor_config": config or {}}, **rest).blocks["load"]


@pytest.fixture
def shop(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def problems_of(environment: Mapping[str, str]) -> tuple[Problem, ...]:
    with pytest.raises(Invalid) as raised:
        read(environment)
    return raised.value.problems


# --- configuration --------------------------------------------------------------------------------


def test_an_enforced_policy_beats_every_level_and_says_what_it_replaced(shop: Guarded) -> None:
    found = shop.k8s(
        {"enforce": True, "config": {"namespace": "guarded", "resource_limits": {"cpu": 2}}},
        {"resource_limits": {"cpu": 8, "memory": "1Gi"}},
        request={"executor_config": {"k8s": {"namespace": "mine"}}},
    )
    assert said(found) == {"namespace": "guarded", "resource_limits": {"cpu": 2, "memory": "1Gi"}}
    assert levels(found) == {
        "namespace": "policy",
        "resource_limits.cpu": "policy",
        "resource_limits.memory": "block",
    }
    assert [each for each in sorted(found.skipped, key=lambda each: each.level) if each.value] == [
        Skipped("block", {"resource_limits.cpu": 8}, "the policy sets resource_limits.cpu to 2 (policy.yaml)"),
        Skipped("request", {"namespace": "mine"}, "the policy sets namespace to 'guarded' (policy.yaml)"),
    ]
    assert found.errors == ()


def test_an_enforced_null_unsets(shop: Guarded) -> None:
    found = shop.k8s({"enforce": True, "config": {"pod": None}}, {"pod": {"volumes": []}, "namespace": "x"})
    assert said(found) == {"namespace": "x"}
    assert found.skipped[-1].value == {"pod.volumes": []}


def test_what_a_policy_does_not_change_is_not_listed(shop: Guarded) -> None:
    found = shop.k8s({"enforce": True, "config": {"namespace": "same"}}, {"namespace": "same"})
    assert [skipped for skipped in found.skipped if skipped.value] == []


def test_a_policy_that_is_not_enforced_fills_gaps_above_the_environment(shop: Guarded) -> None:
    section = {"config": {"namespace": "filled", "resource_limits": {"cpu": 1, "memory": "1Gi"}}}
    found = shop.k8s(
        section,
        project={"k8s_executor_config": {"resource_limits": {"cpu": 2}}},
        environment={"KUBE_NAMESPACE": "from-environment"},
    )
    assert said(found) == {"namespace": "filled", "resource_limits": {"cpu": 2, "memory": "1Gi"}}
    assert levels(found) == {
        "namespace": "policy",
        "resource_limits.cpu": "project",
        "resource_limits.memory": "policy",
    }
    assert found.skipped[-1].value == {"namespace": "from-environment"}


def test_null_makes_a_gap_that_the_policy_fills(shop: Guarded) -> None:
    found = shop.k8s({"config": {"namespace": "filled"}}, {"namespace": None})
    assert (said(found), levels(found)) == ({"namespace": "filled"}, {"namespace": "policy"})


def test_a_policy_that_is_not_enabled_changes_nothing(shop: Guarded) -> None:
    section = {
        "enabled": False,
        "enforce": True,
        "config": {"namespace": "guarded"},
        "max": {"resource_limits": {"cpu": 1}},
        "forbid": ["namespace"],
    }
    config = {"namespace": "mine", "resource_limits": {"cpu": 8}}
    found = shop.k8s(section, config)
    assert (said(found), found.errors) == (config, ())


def test_any_executor_type_can_have_a_policy(shop: Guarded) -> None:
    policy = {"executors": {"local_python": {"enforce": True, "config": {"kill_grace": 1}}, "ecs": {"max": {"cpu": 1}}}}
    found = shop.under(policy, {"executor_type": "local_python_force", "executor_config": {"kill_grace": 60}})
    assert found.blocks["load"].config["kill_grace"] == 1
    assert found.blocks["load"].provenance["kill_grace"] == "policy"
    assert found.errors == ()


def test_a_policy_chooses_the_runtime(shop: Guarded) -> None:
    found = shop.k8s({"enforce": True, "config": {"runtime": "native"}}, request={"runtime": "mage"})
    assert found.provenance["runtime"] == "policy"
    assert found.command[0] == "runmesh-run"


# --- maxima ---------------------------------------------------------------------------------------


def test_a_value_over_its_maximum_is_rejected_with_both_numbers(shop: Guarded) -> None:
    (problem,) = shop.k8s({"max": {"resource_limits": {"cpu": 4}}}, {"resource_limits": {"cpu": 8}}).errors
    assert problem.path == "block load: executor_config.resource_limits.cpu"
    assert problem.message.startswith("resource_limits.cpu is 8, the policy allows 4 at most (policy.yaml)")


@pytest.mark.parametrize(
    ("maximum", "value", "allowed"),
    [
        ("4", 4, True),
        (4, "4000m", True),
        (4, "4001m", False),
        ("1Gi", "1024Mi", True),
        ("1Gi", "1G", True),
        ("1G", "1Gi", False),
        ("1Gi", 1073741825, False),
        (0.1, "100m", True),
        (4, "lots", False),
        (4, [1], False),
        (4, True, False),
        (4, ".nan", False),
    ],
)
def test_quantities_are_compared_as_amounts(shop: Guarded, maximum: Any, value: Any, allowed: bool) -> None:  # noqa: FBT001
    found = shop.k8s({"max": {"resource_limits": {"cpu": maximum}}}, {"resource_limits": {"cpu": value}})
    assert (found.errors == ()) is allowed


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ({"project": {"k8s_executor_config": {"resource_limits": {"cpu": 8}}}}, "metadata.yaml: k8s_executor_config"),
        ({"request": {"executor_config": {"k8s": {"resource_limits": {"cpu": 8}}}}}, "request: executor_config.k8s"),
        ({"request": {"block_config": {"load": {"resource_limits": {"cpu": 8}}}}}, "request: block_config.load"),
        (
            {"environment": {"K8S_EXECUTOR_DEFAULT_RESOURCE_LIMITS_CPU": "8"}},
            "K8S_EXECUTOR_DEFAULT_RESOURCE_LIMITS_CPU",
        ),
    ],
)
def test_a_value_over_its_maximum_is_told_where_it_stands(shop: Guarded, question: dict[str, Any], place: str) -> None:
    (problem,) = shop.k8s({"max": {"resource_limits": {"cpu": 4}}}, **question).errors
    assert problem.path.startswith(place)


@pytest.mark.parametrize("key", ["container", "container_config"])
def test_a_maximum_holds_wherever_kubernetes_takes_the_same_thing(shop: Guarded, key: str) -> None:
    config = {key: {"resources": {"limits": {"cpu": 8}}}}
    (problem,) = shop.k8s({"max": {"resource_limits": {"cpu": 4}}}, config).errors
    assert "resource_limits.cpu is 8, the policy allows 4" in problem.message


def test_no_time_limit_is_over_every_maximum(shop: Guarded) -> None:
    policy = {"executors": {"ecs": {"max": {"wait_timeout": 3600}}}}
    (problem,) = shop.under(policy, {"executor_type": "ecs", "executor_config": {"wait_timeout": -1}}).errors
    assert "wait_timeout is -1, the policy allows 3600 at most" in problem.message


def test_what_is_not_set_is_over_no_maximum(shop: Guarded) -> None:
    assert shop.k8s({"max": {"resource_limits": {"cpu": 4}}}).errors == ()


def test_a_built_in_default_over_a_maximum_says_how_to_set_another(shop: Guarded) -> None:
    policy = {"executors": {"local_python": {"max": {"kill_grace": 5}}}}
    (problem,) = shop.under(policy, {"executor_type": "local_python_force"}).errors
    assert "kill_grace is 10.0, the policy allows 5 at most" in problem.message
    assert "`config`" in (problem.hint or "")


# --- what is forbidden ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ({"config": {"pod": {"volumes": []}}}, "block load: executor_config.pod.volumes"),
        ({"config": {"pod": {"volumes": {"a": 1}}}}, "block load: executor_config.pod.volumes.a"),
        ({"config": {"pod": "x"}}, "block load: executor_config.pod"),
        ({"config": {"pod": {"volumes": None}}}, "block load: executor_config.pod.volumes"),
        ({"executor_config": {"pod": {"volumes": []}}, "executor_type": "k8s"}, "pipelines/orders/metadata.yaml"),
        ({"project": {"k8s_executor_config": {"pod": {"volumes": []}}}}, "metadata.yaml: k8s_executor_config"),
        ({"request": {"executor_config": {"k8s": {"pod": {"volumes": []}}}}}, "request: executor_config.k8s"),
        ({"request": {"block_config": {"load": {"pod": {"volumes": []}}}}}, "request: block_config.load"),
    ],
)
def test_a_forbidden_key_is_rejected_at_every_level(shop: Guarded, question: dict[str, Any], place: str) -> None:
    errors = shop.k8s({"forbid": ["pod.volumes"]}, **question).errors
    (problem,) = (each for each in errors if "the policy forbids to set pod" in each.message)
    assert problem.path.startswith(place)
    assert "(policy.yaml)" in problem.message


def test_the_policy_itself_may_set_what_it_forbids(shop: Guarded) -> None:
    section = {"enforce": True, "config": {"namespace": "guarded"}, "forbid": ["namespace"]}
    found = shop.k8s(section, environment={"KUBE_NAMESPACE": "x"})
    assert (said(found), found.errors) == ({"namespace": "guarded"}, ())


def test_what_is_beside_a_forbidden_key_may_be_set(shop: Guarded) -> None:
    found = shop.k8s({"forbid": ["pod.volumes", "job"]}, {"pod": {"hostname": "x"}, "job_name_prefix": "x"})
    assert found.errors == ()


def test_the_runtime_of_a_request_can_be_forbidden(shop: Guarded) -> None:
    (problem,) = shop.k8s({"forbid": ["runtime"]}, request={"runtime": "mage"}).errors
    assert problem.path == "request: runtime"


# --- requests -------------------------------------------------------------------------------------


def asked(shop: Shop, request: RunRequest, rules: Rules) -> tuple[Problem, ...]:
    shop.ask()
    project = load_project(shop.path, {})
    return explain_pipeline(project, load_pipeline(project, request.pipeline), request, {}, rules=rules).errors


INLINE = RunRequest(pipeline={"uuid": "mine", "blocks": [{"uuid": "load", "type": "custom", "content": "x"}]})
OVERRIDE = RunRequest(pipeline="orders", executor_config={"local_python": {"pool": "x"}})


@pytest.mark.parametrize(("request_", "switch"), [(INLINE, "allow_inline"), (OVERRIDE, "allow_overrides")])
def test_a_policy_can_forbid_what_the_settings_allow(shop: Guarded, request_: RunRequest, switch: str) -> None:
    shop.file.write_text(f"{switch}: false")
    (problem,) = asked(shop, request_, Rules(policy=read({"RUNMESH_POLICY": str(shop.file)})))
    assert "not allowed here" in problem.message
    assert "policy.yaml forbids" in (problem.hint or "")


@pytest.mark.parametrize(("request_", "switch"), [(INLINE, "allow_inline"), (OVERRIDE, "allow_overrides")])
def test_a_policy_can_not_allow_what_the_settings_forbid(shop: Guarded, request_: RunRequest, switch: str) -> None:
    shop.file.write_text(f"{switch}: true")
    policy = read({"RUNMESH_POLICY": str(shop.file)})
    (problem,) = asked(shop, request_, Rules(allow_inline=False, allow_overrides=False, policy=policy))
    assert "set RUNMESH_ALLOW" in (problem.hint or "")


# --- Mage's own file and variables ----------------------------------------------------------------


def test_mages_policy_file_is_the_policy_for_k8s(shop: Guarded) -> None:
    shop.file.write_text("enabled: true\nenforce: true\nnamespace: guarded\nresource_limits:\n  cpu: 2\n")
    environment = {"K8S_DEFAULT_CONFIG_PATH": str(shop.file)}
    found = shop.load({"executor_type": "k8s", "executor_config": {"namespace": "mine"}}, environment=environment)
    assert said(found) == {"namespace": "guarded", "resource_limits": {"cpu": 2}}
    assert set(levels(found).values()) == {"policy"}


def test_mages_policy_file_fills_gaps_unless_it_is_enforced(shop: Guarded) -> None:
    shop.file.write_text("namespace: filled\nservice_account_name: runner")
    environment = {"K8S_DEFAULT_CONFIG_PATH": str(shop.file)}
    found = shop.load({"executor_type": "k8s", "executor_config": {"namespace": "mine"}}, environment=environment)
    assert said(found) == {"namespace": "mine", "service_account_name": "runner"}


def test_mages_policy_file_can_be_switched_off(shop: Guarded) -> None:
    shop.file.write_text("enabled: false\nenforce: true\nnamespace: guarded")
    assert read({"K8S_DEFAULT_CONFIG_PATH": str(shop.file)}).guard("k8s").enforced == {}


def test_mages_defaults_are_the_environments_level(shop: Guarded) -> None:
    environment = {
        "K8S_EXECUTOR_DEFAULT_RESOURCE_REQUESTS_CPU": "250m",
        "K8S_EXECUTOR_DEFAULT_RESOURCE_REQUESTS_MEMORY": "512Mi",
        "K8S_EXECUTOR_DEFAULT_RESOURCE_LIMITS_CPU": "500m",
        "K8S_EXECUTOR_DEFAULT_RESOURCE_LIMITS_MEMORY": "1Gi",
        "K8S_EXECUTOR_DEFAULT_SERVICE_ACCOUNT_NAME": "runner",
    }
    found = shop.load(
        {"executor_type": "k8s", "executor_config": {"resource_limits": {"cpu": 1}}}, environment=environment
    )
    assert said(found) == {
        "resource_requests": {"cpu": "250m", "memory": "512Mi"},
        "resource_limits": {"cpu": 1, "memory": "1Gi"},
        "service_account_name": "runner",
    }
    assert found.provenance["resource_limits.memory"] == "environment"
    assert said(shop.load({"executor_type": "ecs"}, environment=environment)) == {}


@pytest.mark.parametrize(
    ("variable", "config"),
    [
        ("K8S_EXECUTOR_MAX_RESOURCE_REQUESTS_CPU", {"resource_requests": {"cpu": "2001m"}}),
        ("K8S_EXECUTOR_MAX_RESOURCE_REQUESTS_MEMORY", {"resource_requests": {"memory": "1Gi"}}),
        ("K8S_EXECUTOR_MAX_RESOURCE_LIMITS_CPU", {"resource_limits": {"cpu": 4}}),
        ("K8S_EXECUTOR_MAX_RESOURCE_LIMITS_MEMORY", {"resource_limits": {"memory": "1Mi"}}),
    ],
)
def test_mages_maxima_are_maxima(shop: Guarded, variable: str, config: dict[str, Any]) -> None:
    block = {"executor_type": "k8s", "executor_config": config}
    (problem,) = shop.load(block, environment={variable: "2"}).errors
    assert f"the policy allows 2 at most ({variable})" in problem.message
    assert shop.load(block, environment={variable: "2Ti"}).errors == ()


def test_of_two_maxima_the_smaller_holds(shop: Guarded) -> None:
    section = {"max": {"resource_limits": {"cpu": 4, "memory": "1Gi"}}}
    config = {"resource_limits": {"cpu": 8, "memory": "8Gi"}}
    environment = {
        "K8S_EXECUTOR_MAX_RESOURCE_LIMITS_CPU": "2",
        "K8S_EXECUTOR_MAX_RESOURCE_LIMITS_MEMORY": "2Gi",
    }
    told = [problem.message for problem in shop.k8s(section, config, environment=environment).errors]
    assert "cpu is 8, the policy allows 2 at most (K8S_EXECUTOR_MAX_RESOURCE_LIMITS_CPU)" in told[0]
    assert "memory is 8Gi, the policy allows 1Gi at most (policy.yaml)" in told[1]


# --- a broken policy ------------------------------------------------------------------------------


def test_nothing_named_allows_all() -> None:
    assert read({"RUNMESH_POLICY": ""}) == Policy()


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("", "", "must be a mapping"),
        ("- 1", "", "must be a mapping"),
        ("a: ]", ":1", "is no YAML"),
        ("a: 1\na: 2", ":2", "is there twice"),
        ("executor: {}", ": executor", "unknown key 'executor' (did you mean 'executors'?)"),
        ("allow_inlin: true", ": allow_inlin", "did you mean 'allow_inline'?"),
        ("allow_inline: 'no'", ": allow_inline", "valid boolean"),
        ("executors: [k8s]", ": executors", "valid dictionary"),
        ("executors: {k8: {}}", ": executors.k8", "unknown executor type 'k8' (did you mean 'k8s'?)"),
        ("executors: {k8s: null}", ": executors.k8s", "should be a mapping, not None"),
        ("executors: {k8s: {enforse: true}}", ": executors.k8s.enforse", "did you mean 'enforce'?"),
        ("executors: {k8s: {enforce: 1}}", ": executors.k8s.enforce", "valid boolean"),
        ("executors: {k8s: {forbid: pod}}", ": executors.k8s.forbid", "valid list"),
        (
            "executors: {k8s: {max: {resource_limits: {cpu: lots}}}}",
            ": executors.k8s.max.resource_limits.cpu",
            "'lots' is no quantity (write a number",
        ),
        (
            "executors: {local_python: {config: {kill_grase: 1}}}",
            ": executors.local_python.config.kill_grase",
            "did you mean 'kill_grace'?",
        ),
        (
            "executors: {local_python: {config: {kill_grace: long}}}",
            ": executors.local_python.config.kill_grace",
            "number",
        ),
        (
            "executors: {local_python: {max: {kill_grase: 1}}}",
            ": executors.local_python.max: kill_grase",
            "did you mean 'kill_grace'?",
        ),
        (
            "executors: {local_python: {forbid: [kill_grase]}}",
            ": executors.local_python.forbid: kill_grase",
            "did you mean 'kill_grace'?",
        ),
    ],
)
def test_what_is_wrong_with_a_policy_is_one_clear_error(shop: Guarded, text: str, path: str, words: str) -> None:
    shop.file.write_text(text)
    (problem,) = problems_of({"RUNMESH_POLICY": str(shop.file)})
    assert problem.path == f"{shop.file}{path}"
    assert words in str(problem)


@pytest.mark.parametrize("variable", ["RUNMESH_POLICY", "K8S_DEFAULT_CONFIG_PATH"])
def test_a_missing_policy_is_an_error_that_names_the_variable(tmp_path: Path, variable: str) -> None:
    (problem,) = problems_of({variable: str(tmp_path / "none.yaml")})
    assert problem.path == str(tmp_path / "none.yaml")
    assert "No such file" in problem.message
    assert variable in (problem.hint or "")


def test_a_policy_that_is_no_text_is_an_error(shop: Guarded) -> None:
    shop.file.write_bytes(b"\xff\xfe")
    (problem,) = problems_of({"RUNMESH_POLICY": str(shop.file)})
    assert "UTF-8" in problem.message


def test_mages_policy_file_is_checked_too(shop: Guarded) -> None:
    shop.file.write_text("enforce: sometimes")
    (problem,) = problems_of({"K8S_DEFAULT_CONFIG_PATH": str(shop.file)})
    assert problem.path == f"{shop.file}: enforce"


def test_a_variable_that_is_no_quantity_is_an_error() -> None:
    (problem,) = problems_of({"K8S_EXECUTOR_MAX_RESOURCE_LIMITS_CPU": "lots"})
    assert problem.path == "K8S_EXECUTOR_MAX_RESOURCE_LIMITS_CPU"
    assert "'lots' is no quantity" in problem.message


def test_two_policies_for_k8s_are_an_error(shop: Guarded, tmp_path: Path) -> None:
    shop.file.write_text("executors: {k8s: {}}")
    (tmp_path / "k8s.yaml").write_text("namespace: x")
    environment = {"RUNMESH_POLICY": str(shop.file), "K8S_DEFAULT_CONFIG_PATH": str(tmp_path / "k8s.yaml")}
    (problem,) = problems_of(environment)
    assert problem.path == "K8S_DEFAULT_CONFIG_PATH"


def test_explain_tells_of_a_broken_policy_and_goes_on(shop: Guarded) -> None:
    found = shop.ask(environment={"RUNMESH_POLICY": str(shop.file)})
    assert [problem.path for problem in found.errors] == [str(shop.file)]
    assert found.blocks["load"].executor_type == "local_python"

"""DESIGN §4: the configuration of a task, merged from its levels, with the level of every value."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.events import RunRequest
from runmesh.projects import load_pipeline, load_project
from runmesh.resolver.explain import explain_pipeline
from runmesh.resolver.merging import Origin, Tree, leaves, merge, tree, values, without_nulls
from tests.unit.shop import Shop, levels, said


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# --- merging --------------------------------------------------------------------------------------

KEYS = st.text("abc", min_size=1, max_size=2)
SCALARS = st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2)
CONFIGS = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(KEYS, SCALARS | inner, max_size=3),
    max_leaves=8,
)
# Where every level agrees on what is a mapping, as levels of one executor do.
SAME_SHAPE = st.fixed_dictionaries(
    {}, optional={"a": SCALARS, "b": SCALARS, "c": st.fixed_dictionaries({}, optional={"d": SCALARS, "e": SCALARS})}
)


def a_tree(config: dict[str, Any], level: str = "project") -> Tree:
    return tree(config, Origin(level))


def at(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config[part]
    return config


@given(CONFIGS)
def test_a_level_alone_comes_out_as_it_went_in(config: dict[str, Any]) -> None:
    assert values(a_tree(config)) == config


@given(CONFIGS)
def test_merging_nothing_changes_nothing(config: dict[str, Any]) -> None:
    assert merge({}, a_tree(config)) == merge(a_tree(config), {}) == merge(a_tree(config), a_tree(config))


@given(SAME_SHAPE, SAME_SHAPE, SAME_SHAPE)
def test_levels_may_be_merged_in_any_grouping(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    a, b, c = a_tree(one, "project"), a_tree(two, "block"), a_tree(three, "request")
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(CONFIGS, CONFIGS)
def test_every_leaf_of_the_later_level_wins_and_says_so(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    merged = merge(a_tree(lower, "project"), a_tree(upper, "block"))
    result, provenance = values(merged), {path: leaf.origin for path, leaf in leaves(merged)}
    for path, leaf in leaves(a_tree(upper)):
        assert at(result, path) == leaf.value
        assert provenance[path] == "block"


@given(CONFIGS, CONFIGS)
def test_provenance_covers_exactly_the_values(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    merged = merge(a_tree(lower, "project"), a_tree(upper, "block"))
    for path, leaf in leaves(merged):
        assert at(values(merged), path) == leaf.value
        assert leaf.value in [found.value for side in (lower, upper) for p, found in leaves(a_tree(side)) if p == path]


@given(CONFIGS, CONFIGS)
def test_merging_changes_neither_level(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    below, above = a_tree(lower), a_tree(upper)
    merge(below, above)
    assert (values(below), values(above)) == (lower, upper)


def test_null_unsets_what_the_levels_before_said() -> None:
    merged = merge(a_tree({"a": {"b": 1, "c": 2}, "d": 3}), a_tree({"a": {"b": None}, "d": None}))
    assert values(without_nulls(merged)) == {"a": {"c": 2}}


# --- levels ---------------------------------------------------------------------------------------


def test_every_level_beats_the_one_before_and_is_named(shop: Shop) -> None:
    found = shop.load(
        {"executor_config": {"resource_limits": {"d": 4, "e": 4, "f": 4}}},
        executor_type="k8s",
        executor_config={"resource_limits": {"c": 3, "d": 3, "e": 3, "f": 3}},
        project={
            "k8s_executor_config": {"namespace": "batch", "resource_limits": {"b": 2, "c": 2, "d": 2, "e": 2, "f": 2}}
        },
        request={
            "executor_config": {"k8s": {"resource_limits": {"e": 5, "f": 5}}},
            "block_config": {"load": {"resource_limits": {"f": 6}}},
        },
        environment={"KUBE_NAMESPACE": "from-environment"},
    )
    assert said(found) == {"namespace": "batch", "resource_limits": {"b": 2, "c": 3, "d": 4, "e": 5, "f": 6}}
    assert levels(found) == {
        "namespace": "project",
        "resource_limits.b": "project",
        "resource_limits.c": "pipeline",
        "resource_limits.d": "block",
        "resource_limits.e": "request",
        "resource_limits.f": "request.block_config",
    }


def test_lists_replace(shop: Shop) -> None:
    found = shop.load(
        {"executor_type": "ecs", "executor_config": {"tags": ["b"]}}, project={"ecs_config": {"tags": ["a"]}}
    )
    assert said(found) == {"tags": ["b"]}


@pytest.mark.parametrize(
    ("executor_type", "key"),
    [
        ("k8s", "k8s_executor_config"),
        ("ecs", "ecs_config"),
        ("gcp_cloud_run", "gcp_cloud_run_config"),
        ("azure_container_instance", "azure_container_instance_config"),
        ("pyspark", "emr_config"),
    ],
)
def test_each_type_has_its_key_in_the_project(shop: Shop, executor_type: str, key: str) -> None:
    found = shop.load(executor_type=executor_type, project={key: {"resource_limits": {"cpu": 2}}})
    assert said(found) == {"resource_limits": {"cpu": 2}}
    assert levels(found) == {"resource_limits.cpu": "project"}


def test_local_python_has_a_key_in_the_project_of_its_own(shop: Shop) -> None:
    found = shop.load(project={"local_python_config": {"kill_grace": 3}})
    assert found.config["kill_grace"] == 3
    assert found.provenance["kill_grace"] == "project"
    assert shop.ask(project={"local_python_config": {"kill_grace": 3}}).warnings == ()


@pytest.mark.parametrize(
    ("executor_type", "variable", "key"),
    [
        ("k8s", "KUBE_NAMESPACE", "namespace"),
        ("gcp_cloud_run", "GCP_PROJECT_ID", "project_id"),
        ("gcp_cloud_run", "GCP_REGION", "region"),
        ("azure_container_instance", "AZURE_RESOURCE_GROUP_NAME", "resource_group_name"),
        ("pyspark", "MAGE_EC2_SUBNET_ID", "ec2_subnet_id"),
    ],
)
def test_mages_variables_are_the_environments_level(shop: Shop, executor_type: str, variable: str, key: str) -> None:
    found = shop.load({"executor_type": executor_type}, environment={variable: "x"})
    assert said(found) == {key: "x"}
    assert levels(found) == {key: "environment"}
    assert found.provenance[key].place == variable  # type: ignore[attr-defined]


def test_built_in_defaults_are_shown_as_such(shop: Shop) -> None:
    found = shop.load()
    assert found.config["kill_grace"] == 10
    assert found.provenance["kill_grace"] == "default"


def test_null_brings_the_default_back(shop: Shop) -> None:
    found = shop.load({"executor_config": {"kill_grace": None}}, project={"local_python_config": {"kill_grace": 3}})
    assert found.config["kill_grace"] == 10
    assert found.provenance["kill_grace"] == "default"


def test_provenance_names_every_value_and_nothing_else(shop: Shop) -> None:
    found = shop.load({"executor_config": {"environment": {"A": "1", "B": "2"}}})
    assert {path for path in found.provenance if path.startswith("environment")} == {"environment.A", "environment.B"}
    assert {path.split(".")[0] for path in found.provenance} == {
        key for key, value in found.config.items() if value != {}
    }


# --- what a level is for --------------------------------------------------------------------------


def test_a_block_on_another_type_skips_the_pipelines_configuration_and_says_so(shop: Shop) -> None:
    found = shop.load({"executor_type": "ecs"}, executor_type="k8s", executor_config={"namespace": "batch"})
    assert said(found) == {}
    assert found.skipped[-1].level == "pipeline"
    assert found.skipped[-1].value == {"namespace": "batch"}
    assert "k8s" in found.skipped[-1].reason


def test_a_request_for_another_type_skips_what_was_written_for_the_first(shop: Shop) -> None:
    found = shop.ask(
        {"executor_type": "k8s", "executor_config": {"namespace": "mine"}},
        executor_type="k8s",
        executor_config={"namespace": "batch"},
        request={"executor_type": "ecs", "executor_config": {"ecs": {"cpu": 512}}},
    )
    assert said(found.blocks["load"]) == {"cpu": 512}
    assert [skipped.level for skipped in found.blocks["load"].skipped] == ["pipeline", "block"]
    assert said(found.pipeline) == {"cpu": 512}


def test_configuration_for_no_type_in_particular_goes_where_the_request_goes(shop: Shop) -> None:
    found = shop.load(
        {"executor_config": {"cpu": 512}}, executor_config={"memory": 1024}, request={"executor_type": "ecs"}
    )
    assert said(found) == {"cpu": 512, "memory": 1024}


def test_a_remote_executors_configuration_is_skipped_where_the_block_runs_locally(shop: Shop) -> None:
    config = {"resource_limits": {"memory": "8Gi"}}
    found = shop.load({"executor_config": config})
    assert found.executor_type == "local_python"
    assert "resource_limits" not in found.config
    assert (found.skipped[-1].level, found.skipped[-1].value) == ("block", config)
    assert found.errors == ()
    assert said(shop.load({"executor_config": config}, environment={"DEFAULT_EXECUTOR_TYPE": "k8s"})) == config


def test_a_whole_pipeline_has_no_blocks_configuration(shop: Shop) -> None:
    found = shop.ask(
        {"executor_type": "k8s", "executor_config": {"namespace": "mine"}},
        executor_type="k8s",
        executor_config={"resource_limits": {"a": 1}},
        run_pipeline_in_one_process=True,
    )
    assert found.pipeline.config["resource_limits"] == {"a": 1}
    assert "namespace" not in found.pipeline.config


@pytest.mark.parametrize(
    ("executor_type", "wrapper"),
    [("k8s", "k8s_executor_config"), ("gcp_cloud_run", "cloud_run_config"), ("ecs", "ecs_config")],
)
def test_a_configuration_may_be_nested_in_its_own_name(shop: Shop, executor_type: str, wrapper: str) -> None:
    found = shop.load({"executor_type": executor_type, "executor_config": {wrapper: {"pool": "a"}, "b": 2}})
    assert said(found) == {"pool": "a"}
    assert found.skipped[-1].value == {"b": 2}


# --- templates and secrets ------------------------------------------------------------------------


def test_the_namespace_is_rendered_with_variables_and_environment(shop: Shop) -> None:
    found = shop.load(
        {"executor_type": "k8s", "executor_config": {"namespace": "{{ variables('team') }}-{{ env_var('STAGE') }}"}},
        environment={"STAGE": "test"},
        request={"variables": {"team": "blue"}},
        variables={"team": "red"},
    )
    assert said(found) == {"namespace": "blue-test"}


def test_a_namespace_that_renders_to_nothing_is_an_error(shop: Shop) -> None:
    found = shop.load({"executor_type": "k8s", "executor_config": {"namespace": "{{ env_var('UNSET') }}"}})
    assert [problem.path for problem in found.errors] == ["block load: executor_config.namespace"]


def test_nothing_else_is_rendered_and_a_warning_says_so(shop: Shop) -> None:
    template = "{{ env_var('HOME') }}"
    found = shop.load({"executor_type": "k8s", "executor_config": {"job_name_prefix": template}})
    assert said(found) == {"job_name_prefix": template}
    assert any("not rendered" in problem.message for problem in found.warnings)


@pytest.mark.parametrize("where", ["project", "block"])
def test_a_secret_in_a_configuration_is_an_error_that_names_the_platforms_own_way(shop: Shop, where: str) -> None:
    config = {"container": {"env": [{"name": "P", "value": "{{ mage_secret_var('p') }}"}]}}
    found = shop.load(
        {"executor_type": "k8s", "executor_config": config if where == "block" else {}},
        project={"k8s_executor_config": config} if where == "project" else {},
    )
    (problem,) = found.errors
    assert problem.path.endswith("container.env")
    assert "secret_key_ref" in (problem.hint or "")


def test_what_came_in_a_request_is_never_rendered(shop: Shop) -> None:
    shop.ask()
    project = load_project(shop.path, {"SECRET": "k8s"})
    config = {"namespace": "{{ env_var('SECRET') }}"}
    block = {"uuid": "load", "type": "custom", "executor_type": "k8s", "executor_config": config}
    chosen = block | {"uuid": "other", "executor_type": "{{ env_var('SECRET') }}", "executor_config": {}}
    document = {"uuid": "orders", "blocks": [block, chosen]}
    found = explain_pipeline(
        project, load_pipeline(project, document), RunRequest(pipeline=document), {"SECRET": "k8s"}
    )
    assert [problem.path for problem in found.errors] == [
        "block load: executor_config.namespace",
        "block other: executor_type",
    ]
    assert all("never rendered" in problem.message for problem in found.errors)


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "path", "level"),
    [
        (
            {"block": {"executor_config": {"kill_grase": 1}}},
            "block load: executor_config.kill_grase",
            "block level, pipelines/orders/metadata.yaml",
        ),
        (
            {"executor_config": {"kill_grase": 1}},
            "pipelines/orders/metadata.yaml: executor_config.kill_grase",
            "pipeline level",
        ),
        (
            {"project": {"local_python_config": {"kill_grase": 1}}},
            "metadata.yaml: local_python_config.kill_grase",
            "project level",
        ),
        (
            {"request": {"executor_config": {"local_python": {"kill_grase": 1}}}},
            "request: executor_config.local_python.kill_grase",
            "request level",
        ),
        (
            {"request": {"block_config": {"load": {"kill_grase": 1}}}},
            "request: block_config.load.kill_grase",
            "request.block_config level",
        ),
    ],
)
def test_an_unknown_key_is_an_error_with_path_level_and_the_nearest_key(
    shop: Shop, question: dict[str, Any], path: str, level: str
) -> None:
    (problem,) = shop.load(**question).errors
    assert problem.path == path
    assert problem.message == f"unknown key 'kill_grase' ({level})"
    assert problem.hint == "did you mean 'kill_grace'?"


def test_an_unknown_key_that_holds_more_keys_is_one_error(shop: Shop) -> None:
    (problem,) = shop.load({"executor_config": {"resource_limit": {"cpu": {"max": 1}}}}).errors
    assert problem.path == "block load: executor_config.resource_limit"
    assert "block level" in problem.message


def test_what_is_wrong_in_the_project_is_reported_once_for_all_blocks(shop: Shop) -> None:
    blocks = [{"uuid": f"b{n}"} for n in range(3)]
    found = shop.ask(*blocks, project={"local_python_config": {"kill_grace": "long"}})
    assert len(found.errors) == 1
    assert all(block.errors for block in found.blocks.values())


# --- what the mesh acts upon ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "config", "expected"),
    [
        (None, {}, None),
        (30, {}, 30),
        (None, {"wait_timeout": 600, "timeout_seconds": 300, "timeout": 900}, 300),
        (30, {"wait_timeout": 600}, 30),
        (900, {"wait_timeout": 600}, 600),
        (None, {"wait_timeout": -1}, None),
        (30, {"wait_timeout": -1, "timeout": 0}, 30),
    ],
)
def test_of_all_time_limits_the_smallest_positive_one_holds(
    shop: Shop, block: float | None, config: dict[str, float], expected: float | None
) -> None:
    found = shop.load({"executor_type": "ecs", "timeout": block, "executor_config": config})
    assert found.timeout == expected


def test_a_time_limit_that_is_no_number_is_an_error(shop: Shop) -> None:
    (problem,) = shop.load({"executor_type": "ecs", "executor_config": {"wait_timeout": "long"}}).errors
    assert problem.path == "block load: executor_config.wait_timeout"


@pytest.mark.parametrize("executor_type", ["local_python", "k8s"])
@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"start_timeout": 0}, "start_timeout: should be greater than 0, not 0"),
        ({"start_timeout": -1}, "start_timeout: should be greater than 0, not -1"),
        ({"start_timeout": float("inf")}, "start_timeout: should be a finite number, not inf"),
        ({"start_timeout": float("nan")}, "start_timeout: should be a finite number, not nan"),
        ({"pool": ""}, "pool: should match pattern "),
        ({"pool": "a b"}, "pool: should match pattern "),
        ({"pool": "x" * 65}, "pool: should match pattern "),
    ],
)
def test_what_no_worker_can_do_is_an_error(
    shop: Shop, executor_type: str, written: dict[str, Any], message: str
) -> None:
    (problem,) = shop.load({"executor_type": executor_type, "executor_config": written}).errors
    assert str(problem).startswith(f"block load: executor_config.{message}")


def test_pool_and_start_timeout_come_from_the_configuration(shop: Shop) -> None:
    found = shop.load({"executor_type": "k8s", "executor_config": {"pool": "gpu", "start_timeout": 60}})
    assert (found.pool, found.start_timeout) == ("gpu", 60)


def test_retry_rules_merge_key_by_key(shop: Shop) -> None:
    found = shop.load(
        {"retry_config": {"retries": 5}},
        retry_config={"delay": 2, "retries": 2},
        project={"retry_config": {"retries": 1, "delay": 1, "max_delay": 7, "exponential_backoff": False}},
    ).retries
    assert (found.retries, found.delay, found.max_delay, found.exponential_backoff) == (5, 2, 7, False)


def test_a_wrong_retry_rule_is_an_error_where_it_stands(shop: Shop) -> None:
    found = shop.ask({"retry_config": {"retrys": 5}}, project={"retry_config": {"delay": "soon"}})
    paths = [problem.path for problem in found.errors]
    assert any(path.startswith("metadata.yaml: retry_config") for path in paths)
    assert any(path.startswith("block load: retry_config") for path in paths)


# --- where Mage would answer otherwise ------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "differs"),
    [
        ({"block": {"executor_type": "k8s", "executor_config": {"namespace": "x"}}}, {}),
        (
            {
                "block": {"executor_type": "k8s", "executor_config": {"resource_limits": {"cpu": 2}}},
                "project": {"k8s_executor_config": {"resource_limits": {"cpu": 1, "memory": "1Gi"}}},
            },
            {"resource_limits.memory": None},
        ),
        ({"executor_type": "ecs", "executor_config": {"cpu": 256}}, {"cpu": None}),
        (
            {"executor_type": "ecs", "executor_config": {"cpu": 256}, "project": {"ecs_config": {"cpu": 512}}},
            {"cpu": 512},
        ),
        ({"executor_type": "pyspark", "executor_config": {"slave_instance_count": 3}}, {}),
        (
            {
                "executor_type": "gcp_cloud_run",
                "project": {"gcp_cloud_run_config": {"region": "here"}},
                "environment": {"GCP_REGION": "there"},
            },
            {"region": "there"},
        ),
        ({"project": {"executor_type": "k8s"}}, {"executor_type": "local_python"}),
        (
            {"block": {"executor_type": "{{ env_var('UNSET') }}"}, "executor_type": "k8s"},
            {"executor_type": "local_python"},
        ),
        ({"executor_type": "k8s", "request": {"executor_config": {"k8s": {"namespace": "x"}}}}, {}),
        (
            {
                "block": {"executor_type": "k8s", "executor_config": {"job_name_prefix": "at-{trigger_name}"}},
                "request": {"trigger_name": "noon"},
            },
            {},
        ),
        (
            {
                "block": {"executor_type": "k8s", "executor_config": {"namespace": "{{ variables('where') }}"}},
                "request": {"variables": {"where": "there"}},
            },
            {},
        ),
        (
            {
                "block": {"executor_type": "k8s", "executor_config": {"image": "ours", "namespace": "ours"}},
                "project": {"k8s_executor_config": {"metadata": {"namespace": "theirs"}}},
            },
            {"namespace": "theirs"},
        ),
        (
            {
                "block": {"executor_type": "ecs", "executor_config": {"ecs_config": {"cpu": 256}}},
                "project": {"ecs_config": {"cluster": "batch"}},
            },
            {"cluster": None},
        ),
        (
            {
                "block": {"executor_type": "ecs", "executor_config": {"cpu": None}},
                "executor_type": "ecs",
                "executor_config": {"memory": None},
                "project": {"ecs_config": {"memory": 2048}},
            },
            {"memory": 2048},
        ),
        (
            {"block": {"executor_type": "{{ env_var('WHERE') }}"}, "environment": {"WHERE": "k8s "}},
            {"executor_type": "local_python"},
        ),
    ],
)
def test_what_mage_would_do_instead_is_marked(shop: Shop, question: dict[str, Any], differs: dict[str, Any]) -> None:
    assert shop.load(**question).differs == differs


@pytest.mark.parametrize("executor_type", ["gcp_cloud_run", "azure_container_instance"])
def test_mage_has_no_whole_pipelines_on_some_types(shop: Shop, executor_type: str) -> None:
    found = shop.ask(executor_type=executor_type)
    assert found.pipeline.differs == {"executor_type": "local_python"}
    assert found.blocks["load"].differs == {}


def test_a_whole_pipelines_configuration_is_mages_too(shop: Shop) -> None:
    assert shop.ask(executor_type="k8s", executor_config={"namespace": "x"}).pipeline.differs == {}

"""From documents to projects and pipelines."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Invalid, UnsafePath
from runmesh.projects import Pipeline, Project, RetryPolicy, Templates, holds_secret, load_pipeline, load_project

PROJECT = """\
project_type: standalone

variables_dir: {{ env_var('DATA_DIR', '~/.mage_data') }}
# remote_variables_dir: s3://bucket/path_prefix
variables_retention_period: '90d   '
executor_type: "{{ env_var('EXECUTOR', 'local_python') }}"

emr_config:
  master_instance_type: 'r5.4xlarge'
  slave_instance_type: 'r5.4xlarge'
  bootstrap_script_path: null
k8s_executor_config:
  namespace: "{{ env_var('NAMESPACE', 'default') }}"
  resource_limits:
    cpu: 1000m
    memory: 2048Mi
ecs_config:
gcp_cloud_run_config:
  project_id: "{{ mage_secret_var('gcp_project') }}"
  since: 2024-01-31

spark_config:
  app_name: 'my spark app'
  spark_master: 'local'
  spark_jars: []
retry_config: {retries: 2, delay: 1}
notification_config:
  alert_on:
  - trigger_failure
  slack_config:
    webhook_url: "{{ env_var('HOOK', '') }}"
queue_config: {concurrency: 8}
project_uuid: 8a1f
features:
  data_integration_in_batch_pipeline: false
help_improve_mage: false
k8s_executor_confg: {}
"""

PIPELINE = """\
blocks:
- all_upstream_blocks_executed: true
  color: null
  configuration:
    file_source:
      path: data_loaders/load_orders.py
    since: 2024-01-31
  downstream_blocks:
  - clean_orders
  executor_config: null
  executor_type: local_python
  has_callback: false
  language: python
  name: load orders
  retry_config: null
  status: executed
  timeout: 90
  type: data_loader
  upstream_blocks: []
  uuid: load_orders
- color: teal
  configuration: {}
  downstream_blocks: []
  executor_config:
    resource_limits: {cpu: 2}
  executor_type: "{{ env_var('EXECUTOR') }}"
  groups: [nightly]
  has_callback: true
  language: sql
  name: clean_orders
  retry_config: {retries: 3}
  type: transformer
  upstream_blocks: [load_orders]
  uuid: clean_orders
- {name: again, replicated_block: load_orders, type: data_loader, upstream_blocks: [clean_orders], uuid: load_again}
cache_block_output_in_memory: false
callbacks:
- {uuid: alert, type: callback, upstream_blocks: [load_orders]}
concurrency_config: {block_run_limit: 2}
conditionals:
- {uuid: is_monday, type: conditional, upstream_blocks: [clean_orders]}
created_at: '2023-06-01 10:00:00.000000+00:00'
data_integration: null
description: null
executor_config: {}
executor_count: 1
executor_type: null
extensions:
  great_expectations:
    blocks:
    - {uuid: expect_rows, type: extension, extension_uuid: great_expectations, upstream_blocks: [load_orders]}
name: orders
notification_config: {}
remote_variables_dir: null
retry_config: {}
run_pipeline_in_one_process: false
settings: {triggers: null}
spark_config: {}
state_store_config: {}
tags: [shop, daily]
type: python
uuid: orders
variables: {limit: 10, start: 2024-01-31}
variables_dir: /home/src/mage_data/shop
widgets:
- {uuid: chart, type: chart, upstream_blocks: [clean_orders]}
"""


def project_at(path: Path, document: str = "", pipelines: dict[str, str] | None = None) -> Path:
    path.mkdir()
    (path / "metadata.yaml").write_text(document)
    for name, text in (pipelines or {}).items():
        (path / "pipelines" / name).mkdir(parents=True)
        (path / "pipelines" / name / "metadata.yaml").write_text(text)
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    path = project_at(tmp_path / "shop", PROJECT, {"orders": PIPELINE, "empty": "# nothing\n"})
    return load_project(path, {"EXECUTOR": "k8s"})


@pytest.fixture
def orders(shop: Project) -> Pipeline:
    return load_pipeline(shop, "orders")


def inline(document: Any) -> Pipeline:
    return load_pipeline(Project("p", Path("/nowhere"), {}, Templates({})), document)


def refused(document: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as error:
        inline(document)
    return {problem.path: f"{problem.message} {problem.hint or ''}" for problem in error.value.problems}


class TestProject:
    def test_is_rendered_trimmed_and_typed(self, shop: Project) -> None:
        assert shop.name == "shop"
        assert shop.executor_type == "k8s"
        assert shop.variables_dir == "~/.mage_data"
        assert shop.document["variables_retention_period"] == "90d"
        assert shop.document["k8s_executor_config"]["namespace"] == "default"
        assert shop.document["emr_config"]["master_instance_type"] == "r5.4xlarge"
        assert shop.retry_config == {"retries": 2, "delay": 1}
        assert shop.document["queue_config"] == {"concurrency": 8}
        assert shop.concurrency_config == {}
        assert shop.remote_variables_dir is None

    def test_holds_dates_as_text_in_what_becomes_json(self, shop: Project) -> None:
        assert shop.document["gcp_cloud_run_config"]["since"] == "2024-01-31"

    def test_keeps_secrets_unrendered(self, shop: Project) -> None:
        assert shop.document["gcp_cloud_run_config"]["project_id"] == "{{ mage_secret_var('gcp_project') }}"
        assert holds_secret(shop.document["gcp_cloud_run_config"])
        assert not holds_secret(shop.document["k8s_executor_config"])

    def test_warns_of_keys_that_nobody_reads(self, shop: Project) -> None:
        (warning,) = shop.warnings
        assert warning.path == "metadata.yaml: k8s_executor_confg"
        assert warning.hint == "did you mean 'k8s_executor_config'?"

    def test_lists_its_pipelines(self, shop: Project) -> None:
        assert shop.pipeline_names() == ["empty", "orders"]

    def test_may_be_empty(self, tmp_path: Path) -> None:
        project = load_project(project_at(tmp_path / "bare"), {})
        assert (project.document, project.executor_type, project.pipeline_names()) == ({}, None, [])

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("- a list", "metadata.yaml: must be a mapping"),
            ("ecs_config: text", "metadata.yaml: ecs_config: must be a mapping, not text"),
            ("executor_type: [k8s]", "metadata.yaml: executor_type: must be text, not a list"),
            ("a: 1\nb: {{ nothing }}", "metadata.yaml:2: the template fails: 'nothing' is undefined"),
            ("a: 1\n b: 2", "metadata.yaml:2: is no YAML"),
            ("a: " + "x" * 1_000_000, "metadata.yaml: is larger than"),
        ],
    )
    def test_says_what_is_wrong_and_where(self, tmp_path: Path, document: str, message: str) -> None:
        with pytest.raises(Invalid, match=message):
            load_project(project_at(tmp_path / "bad", document), {})

    def test_all_problems_are_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid) as error:
            load_project(project_at(tmp_path / "bad", "ecs_config: 1\nemr_config: 2"), {})
        assert [problem.path for problem in error.value.problems] == [
            "metadata.yaml: ecs_config",
            "metadata.yaml: emr_config",
        ]

    def test_a_document_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "odd"
        path.mkdir()
        with pytest.raises(Invalid, match="can't be read: No such file"):
            load_project(path, {})
        os.mkfifo(path / "metadata.yaml")
        with pytest.raises(Invalid, match="is no file"):
            load_project(path, {})
        (path / "metadata.yaml").unlink()
        (path / "metadata.yaml").write_bytes(b"a: \xff")
        with pytest.raises(Invalid, match="not UTF-8"):
            load_project(path, {})


class TestPipeline:
    def test_has_mages_keys(self, orders: Pipeline) -> None:
        assert (orders.uuid, orders.name, orders.type) == ("orders", "orders", "python")
        assert (orders.executor_type, orders.executor_config, orders.executor_count) == (None, {}, 1)
        assert orders.run_pipeline_in_one_process is False
        assert orders.concurrency_config == {"block_run_limit": 2}
        assert orders.tags == ("shop", "daily")
        assert orders.created_at == "2023-06-01 10:00:00.000000+00:00"
        assert orders.variables == {"limit": 10, "start": date(2024, 1, 31)}
        assert list(orders.callbacks) == ["alert"]
        assert list(orders.conditionals) == ["is_monday"]
        assert list(orders.widgets) == ["chart"]
        assert list(orders.extensions["great_expectations"]) == ["expect_rows"]

    def test_has_its_blocks_in_order(self, orders: Pipeline) -> None:
        assert list(orders.blocks) == ["load_orders", "clean_orders", "load_again"]
        load, clean, again = orders.blocks.values()
        assert (load.name, load.executor_type, load.timeout, load.language) == (
            "load orders",
            "local_python",
            90,
            "python",
        )
        assert (load.executor_config, load.retry_config, load.upstream_blocks) == (None, None, ())
        assert load.configuration["since"] == date(2024, 1, 31)
        assert clean.executor_type == "{{ env_var('EXECUTOR') }}"
        assert clean.executor_config == {"resource_limits": {"cpu": 2}}
        assert (clean.language, clean.groups, clean.has_callback, clean.color) == ("sql", ("nightly",), True, "teal")
        assert (again.upstream_blocks, again.replicated_block, again.original) == (
            ("clean_orders",),
            "load_orders",
            load,
        )

    def test_a_replica_has_the_file_of_its_original(self, shop: Project, orders: Pipeline) -> None:
        assert shop.block_path(orders.blocks["load_again"]) == shop.path / "data_loaders/load_orders.py"

    def test_keeps_unknown_keys_and_warns(self, orders: Pipeline) -> None:
        assert orders.extra == {"state_store_config": {}}
        (warning,) = orders.warnings
        assert warning.path == "pipelines/orders/metadata.yaml: state_store_config"

    def test_says_nothing_where_the_document_says_nothing(self) -> None:
        pipeline = inline({"uuid": "p"})
        assert pipeline == Pipeline(uuid="p", name="p")
        assert pipeline.run_pipeline_in_one_process is None

    def test_is_called_as_its_folder(self, tmp_path: Path) -> None:
        project = load_project(project_at(tmp_path / "p", pipelines={"folder": "uuid: other"}), {})
        pipeline = load_pipeline(project, "folder")
        assert pipeline.uuid == "folder"
        assert "is ignored" in pipeline.warnings[0].message

    def test_is_not_rendered(self, tmp_path: Path) -> None:
        document = "description: \"{{ env_var('X') }}\""
        project = load_project(project_at(tmp_path / "p", pipelines={"a": document}), {"X": "1"})
        assert load_pipeline(project, "a").description == "{{ env_var('X') }}"

    def test_an_unknown_one_gets_the_nearest_name(self, shop: Project) -> None:
        with pytest.raises(Invalid, match=r"there is no pipeline 'order'.*did you mean 'orders'"):
            load_pipeline(shop, "order")

    def test_an_empty_file_is_refused(self, shop: Project) -> None:
        with pytest.raises(Invalid, match=r"pipelines/empty/metadata\.yaml: is empty"):
            load_pipeline(shop, "empty")

    def test_all_problems_are_told_at_once(self) -> None:
        block: dict[str, Any] = {"uuid": "a", "type": "data_loader"}
        assert refused(
            {
                "uuid": "p",
                "type": "pyspak",
                "tags": "daily",
                "run_pipeline_in_one_process": "true",
                "executor_config": [],
                "callbacks": {},
                "extensions": {"ge": []},
                "blocks": [
                    block | {"upstream_blocks": "b", "timeout": "soon"},
                    block | {"uuid": "b", "type": "loader", "language": "pyton"},
                    {"type": "custom", "has_callback": 1},
                    block,
                    "text",
                    block | {"uuid": "c", "type": None, "upstream_blocks": [None, "a"], "timeout": True},
                    block | {"uuid": "d", "replicated_block": "e", "content": ["x"]},
                ],
            }
        ) == {
            "pipeline: type": "'pyspak' is not known did you mean 'pyspark'?",
            "pipeline: tags": "must be a list of names, not text ",
            "pipeline: run_pipeline_in_one_process": "must be true or false, not text ",
            "pipeline: executor_config": "must be a mapping, not a list ",
            "pipeline: callbacks": "must be a list, not a mapping ",
            "pipeline: extensions.ge": "must be a mapping, not a list ",
            "pipeline: blocks[0].upstream_blocks": "must be a list of names, not text ",
            "pipeline: blocks[0].timeout": "must be a number, not text ",
            "pipeline: blocks[1].type": "'loader' is not known did you mean 'data_loader'?",
            "pipeline: blocks[1].language": "'pyton' is not known did you mean 'python'?",
            "pipeline: blocks[2].uuid": "is missing ",
            "pipeline: blocks[2].has_callback": "must be true or false, not a number ",
            "pipeline: blocks[3].uuid": "'a' is the uuid of another block, too ",
            "pipeline: blocks[4]": "must be a mapping, not text ",
            "pipeline: blocks[5].type": (
                "is missing known: callback, chart, command, conditional, custom, data_exporter, data_loader, dbt, "
                "dynamic_child, extension, global_data_product, group, …"
            ),
            "pipeline: blocks[5].upstream_blocks[0]": "must be text, not empty ",
            "pipeline: blocks[5].timeout": "must be a number, not true or false ",
            "pipeline: blocks[6].content": "must be text, not a list ",
            "pipeline: d.replicated_block": "there is no block 'e' known: a, b, c, d",
        }

    @pytest.mark.parametrize("uuid", ["../x", "/etc/passwd", "a/../../b", "a\0b", "a\\b"])
    def test_unsafe_names_of_blocks_are_refused(self, uuid: str) -> None:
        with pytest.raises(UnsafePath):
            inline({"uuid": "p", "blocks": [{"uuid": uuid, "type": "custom"}]})
        with pytest.raises(UnsafePath):
            inline({"uuid": uuid})

    def test_replicas_of_each_other_are_refused(self) -> None:
        blocks = [{"uuid": a, "type": "custom", "replicated_block": b} for a, b in ("ab", "bc", "ca")]
        assert refused({"uuid": "p", "blocks": blocks})["pipeline: a.replicated_block"] == "'b' leads back to itself "

    def test_an_edge_that_only_one_side_knows_is_a_warning(self) -> None:
        pipeline = inline(
            {
                "blocks": [
                    {"uuid": "a", "type": "custom", "downstream_blocks": ["b", "x"]},
                    {"uuid": "b", "type": "custom"},
                ]
            }
        )
        assert [warning.message.split(",")[0] for warning in pipeline.warnings] == [
            "'a' names 'b' downstream",
            "'a' names 'x' downstream",
        ]

    def test_an_upstream_block_named_twice_counts_once(self) -> None:
        pipeline = inline({"blocks": [{"uuid": "b", "type": "custom", "upstream_blocks": ["a", "c", "a"]}]})
        assert pipeline.blocks["b"].upstream_blocks == ("a", "c")
        assert pipeline.warnings[0].path == "pipeline: blocks[0].upstream_blocks"

    @pytest.mark.parametrize("count", [float("inf"), float("nan"), float("-inf")])
    def test_a_number_must_be_finite(self, count: float) -> None:
        assert refused({"executor_count": count}) == {"pipeline: executor_count": "must be a finite number "}

    def test_of_very_many_unknown_keys_some_are_told(self) -> None:
        pipeline = inline({f"key{n}": n for n in range(20_000)})
        assert len(pipeline.warnings) == 50
        assert len(pipeline.extra) == 20_000

    def test_an_inline_document_nested_without_end_is_refused(self) -> None:
        deep: Any = "x"
        for _ in range(5000):
            deep = [deep]
        assert refused({"variables": {"deep": deep}}) == {"pipeline": "nested deeper than 64 levels "}

    @given(
        st.dictionaries(
            st.sampled_from(
                ["uuid", "type", "blocks", "tags", "variables", "extensions", "callbacks", "executor_count", "x"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["uuid", "type", "blocks", "configuration"]), inner, max_size=4)
                ),
            ),
        )
    )
    def test_raises_nothing_but_invalid(self, document: dict[str, Any]) -> None:
        try:
            assert isinstance(inline(document), Pipeline)
        except Invalid as error:
            assert error.problems  # noqa: PT017 - both outcomes are right


class TestRetryPolicy:
    def test_has_mages_defaults(self) -> None:
        assert RetryPolicy.of() == RetryPolicy(retries=0, delay=5, max_delay=60, exponential_backoff=True)

    def test_the_blocks_values_go_over_the_projects(self) -> None:
        policy = RetryPolicy.of({"retries": 2, "delay": 1}, None, {"retries": 3, "exponential_backoff": False})
        assert policy == RetryPolicy(retries=3, delay=1, max_delay=60, exponential_backoff=False)

    def test_waits_double_up_to_the_longest(self) -> None:
        policy = RetryPolicy(retries=9, delay=5, max_delay=30)
        assert [policy.wait(retry) for retry in (1, 2, 3, 4, 10_000)] == [5, 10, 20, 30, 30]
        steady = RetryPolicy(delay=5, exponential_backoff=False)
        assert [steady.wait(retry) for retry in (1, 2, 3)] == [5, 5, 5]

    @pytest.mark.parametrize("config", [{"retries": -1}, {"delay": "5"}, {"retrys": 1}, {"max_delay": float("inf")}])
    def test_refuses_what_means_nothing(self, config: dict[str, Any]) -> None:
        with pytest.raises(Invalid, match="retry_config: "):
            RetryPolicy.of(config)

    def test_an_unknown_key_gets_the_nearest(self) -> None:
        with pytest.raises(Invalid, match=r"retry_config: retrys: is not known \(did you mean 'retries'\?\)"):
            RetryPolicy.of({"retrys": 3})

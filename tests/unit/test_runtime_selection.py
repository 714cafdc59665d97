"""Which runtime runs a block: native or Mage's, chosen at any level, and refused where it can't."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runmesh.resolver import explain
from runmesh.resolver.explanation import Explanation
from tests.unit.shop import Shop, levels, said

MAGE = {"executor_config": {"runtime": "mage"}}
NATIVE = {"executor_config": {"runtime": "native"}}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def refused(found: Explanation, *words: str) -> bool:
    return any(all(word in str(problem) for word in words) for problem in found.errors)


# --- precedence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "runtime", "level"),
    [
        ({}, "native", "default"),
        ({"environment": {"RUNMESH_RUNTIME": "mage"}}, "mage", "environment"),
        ({"environment": {"RUNMESH_RUNTIME": ""}}, "native", "default"),
        ({"project": {"runtime": "mage"}}, "mage", "project"),
        ({"project": {"runtime": "native"}, "environment": {"RUNMESH_RUNTIME": "mage"}}, "native", "project"),
        ({"project": {"runtime": "native", "local_python_config": {"runtime": "mage"}}}, "mage", "project"),
        ({"project": {"runtime": "native"}, **MAGE}, "mage", "pipeline"),
        ({"block": NATIVE, **MAGE}, "native", "block"),
        ({"block": NATIVE, "request": {"runtime": "mage"}}, "mage", "request"),
        (
            {"request": {"runtime": "native", "executor_config": {"local_python": {"runtime": "mage"}}}},
            "mage",
            "request",
        ),
        (
            {"request": {"runtime": "mage", "block_config": {"load": {"runtime": "native"}}}},
            "native",
            "request.block_config",
        ),
    ],
)
def test_the_highest_level_chooses_and_is_named(shop: Shop, question: dict[str, Any], runtime: str, level: str) -> None:
    found = shop.load(**question)
    assert found.config["runtime"] == runtime
    assert found.provenance["runtime"] == level
    assert found.command[0] == ("mage" if runtime == "mage" else "runmesh-run")
    assert "runtime" not in found.differs


def test_null_leaves_the_choice_to_nobody(shop: Shop) -> None:
    found = shop.load({"executor_config": {"runtime": None}}, project={"runtime": "mage"})
    assert (found.config["runtime"], found.provenance["runtime"]) == ("native", "default")


def test_a_pipelines_runtime_reaches_blocks_on_another_executor(shop: Shop) -> None:
    config = {"runtime": "mage", "namespace": "batch"}
    found = shop.load({"executor_type": "ecs"}, executor_type="k8s", executor_config=config)
    assert said(found) == {"runtime": "mage"}
    assert levels(found) == {"runtime": "pipeline"}
    assert found.skipped[-1].value == {"namespace": "batch"}


def test_a_blocks_runtime_goes_where_the_request_sends_it(shop: Shop) -> None:
    block = {"executor_type": "k8s", "executor_config": {"runtime": "mage", "namespace": "batch"}}
    found = shop.load(block, request={"executor_type": "ecs"})
    assert said(found) == {"runtime": "mage"}


def test_a_runtime_beside_remote_keys_reaches_a_local_block(shop: Shop) -> None:
    found = shop.load({"executor_config": {"runtime": "mage", "resource_limits": {"cpu": 1}}})
    assert found.errors == ()
    assert found.provenance["runtime"] == "block"
    assert found.skipped[-1].value == {"resource_limits": {"cpu": 1}}


def test_a_level_that_says_only_a_runtime_skips_nothing(shop: Shop) -> None:
    found = shop.load({"executor_type": "ecs"}, executor_type="k8s", **MAGE)
    assert [skipped for skipped in found.skipped if skipped.value] == []


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ({"environment": {"RUNMESH_RUNTIME": "mgae"}}, "RUNMESH_RUNTIME"),
        ({"project": {"runtime": "mgae"}}, "metadata.yaml: runtime"),
        ({"executor_config": {"runtime": "mgae"}}, "pipelines/orders/metadata.yaml: executor_config.runtime"),
        ({"block": {"executor_config": {"runtime": "mgae"}}}, "block load: executor_config.runtime"),
    ],
)
def test_an_unknown_runtime_is_an_error_where_it_stands(shop: Shop, question: dict[str, Any], place: str) -> None:
    found = shop.load(**question)
    assert [problem.path for problem in found.errors] == [place]
    assert "'native' or 'mage'" in found.errors[0].message


def test_an_unknown_runtime_in_a_request_is_an_error(shop: Shop) -> None:
    assert refused(shop.ask(request={"runtime": "mgae"}), "runtime", "'native' or 'mage'")


# --- the command line -----------------------------------------------------------------------------


def test_mages_command_for_a_block_is_the_one_of_its_own_executors(shop: Shop) -> None:
    found = shop.load({"executor_type": "k8s"}, request={"runtime": "mage", "execution_partition": "7/20261122T000000"})
    assert found.command == (
        *("/app/run_app.sh", "mage", "run", str(shop.path), "orders", "--block-uuid", "load"),
        *("--executor-type", "local_python", "--execution-partition", "7/20261122T000000"),
    )


def test_mages_command_for_a_pipeline_names_no_block(shop: Shop) -> None:
    found = shop.ask(run_pipeline_in_one_process=True, executor_type="ecs", request={"runtime": "mage"})
    assert found.pipeline.command == (
        *("/app/run_app.sh", "mage", "run", str(shop.path), "orders"),
        *("--executor-type", "local_python", "--execution-partition", "{run}"),
    )


def test_a_local_process_needs_no_script_of_an_image(shop: Shop) -> None:
    assert shop.load(request={"runtime": "mage"}).command[:3] == ("mage", "run", str(shop.path))


def test_mages_command_carries_the_variables_and_no_flag_that_mage_does_not_know(shop: Shop) -> None:
    request = {"runtime": "mage", "variables": {"day": "mon"}, "trigger_name": "nightly"}
    command = shop.load(request=request).command
    assert dict(pairwise(command))["--runtime-vars"] == '{"day":"mon"}'
    known = {"--block-uuid", "--executor-type", "--execution-partition", "--runtime-vars"}
    assert {argument for argument in command if argument.startswith("--")} == known


# --- what a runtime can't run ---------------------------------------------------------------------

KINDS = [
    *({"language": language} for language in ("sql", "r", "yaml", "markdown")),
    *({"type": "dbt", "language": language} for language in ("sql", "yaml", "python")),
    *({"type": kind} for kind in ("global_data_product", "extension", "hook", "pipeline", "group", "dynamic_child")),
]


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "whole"])
@pytest.mark.parametrize("block", KINDS, ids=lambda block: "-".join(block.values()))
def test_a_kind_of_block_that_only_mage_can_run(shop: Shop, block: dict[str, str], whole: bool) -> None:  # noqa: FBT001
    found = shop.ask(block, run_pipeline_in_one_process=whole)
    assert refused(found, "block load", "the native runtime can't run", *block.values(), "`runtime: mage`")
    assert shop.ask(block, run_pipeline_in_one_process=whole, project={"runtime": "mage"}).errors == ()


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "whole"])
@pytest.mark.parametrize("kind", ["streaming", "databricks", "execution_framework"])
def test_a_type_of_pipeline_that_only_mage_can_run(shop: Shop, kind: str, whole: bool) -> None:  # noqa: FBT001
    found = shop.ask(type=kind, run_pipeline_in_one_process=whole)
    assert refused(found, "metadata.yaml: type", f"the native runtime can't run {kind} pipelines", "`runtime: mage`")
    assert shop.ask(type=kind, run_pipeline_in_one_process=whole, request={"runtime": "mage"}).errors == ()


def test_conditions_that_mage_would_not_ask_are_refused(shop: Shop) -> None:
    asked: dict[str, Any] = {
        "conditionals": [{"uuid": "gate", "type": "conditional", "upstream_blocks": ["load"], "content": ""}]
    }
    found = shop.ask(run_pipeline_in_one_process=True, project={"runtime": "mage"}, **asked)
    assert refused(found, "metadata.yaml: conditionals", "asks no conditions", "project level", "in_one_process: false")
    assert not shop.ask(project={"runtime": "mage"}, **asked).errors
    assert not shop.ask(run_pipeline_in_one_process=True, **asked).errors


def test_a_pipeline_that_streams_is_tried_again_by_mage_alone(shop: Shop) -> None:
    rules = {"retry_config": {"retries": 2}, "runtime": "mage"}
    assert shop.ask(type="streaming", project=rules).pipeline.retries.retries == 0
    assert shop.ask(run_pipeline_in_one_process=True, project=rules).pipeline.retries.retries == 2


def test_a_blocks_own_runtime_counts_for_nothing_in_one_process(shop: Shop) -> None:
    found = shop.ask({"language": "sql", **MAGE}, run_pipeline_in_one_process=True)
    assert refused(found, "block load", "the native runtime can't run")


DYNAMIC = {"uuid": "days", "configuration": {"dynamic": True}}
NESTED = {"uuid": "days", "configuration": {"dynamic": {"parent": True}}}


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "whole"])
@pytest.mark.parametrize("parent", [DYNAMIC, NESTED], ids=["v1", "v2"])
def test_a_dynamic_block_needs_the_native_runtime(shop: Shop, parent: dict[str, Any], whole: bool) -> None:  # noqa: FBT001
    found = shop.ask(parent, run_pipeline_in_one_process=whole, project={"runtime": "mage"})
    assert refused(found, "block days", "a dynamic block needs the native runtime", "project level", "runtime: native")


def test_a_dynamic_blocks_children_need_the_native_runtime(shop: Shop) -> None:
    child = {"uuid": "day", "upstream_blocks": ["days"]}
    grandchild = {"uuid": "hour", "upstream_blocks": ["day"], **MAGE}
    found = shop.ask(DYNAMIC, {**child, **MAGE}, grandchild)
    for uuid in ("day", "hour"):
        assert refused(found, f"block {uuid}", "a dynamic block's child needs the native runtime", "block level")
    assert not refused(found, "block days", "native runtime")


def test_below_a_block_that_reduces_mage_may_run_again(shop: Shop) -> None:
    child = {"uuid": "day", "upstream_blocks": ["days"], "configuration": {"reduce_output": True}}
    found = shop.ask(DYNAMIC, child, {"uuid": "sum", "upstream_blocks": ["day"], **MAGE})
    assert not refused(found, "native runtime")


def test_mage_can_not_run_a_pipeline_that_is_on_no_disk(shop: Shop) -> None:
    shop.ask()
    document = {"uuid": "mine", "blocks": [{"uuid": "load", "type": "custom", "content": "x"}]}
    found = explain(shop.path, document, request={"runtime": "mage"}, environment={})
    assert [problem.path for problem in found.errors] == ["pipeline"]
    assert refused(found, "on disk", "request level")
    assert explain(shop.path, document, environment={}).errors == ()

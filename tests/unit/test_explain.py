"""`explain`: every decision of a run in one answer, and every mistake in one list."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runmesh.errors import Problem
from runmesh.events import RunRequest
from runmesh.projects import RetryPolicy, load_pipeline, load_project
from runmesh.projects.commands import LONGEST_ARGUMENT
from runmesh.resolver import explain
from runmesh.resolver.command import fill
from runmesh.resolver.explain import explain_pipeline
from runmesh.resolver.explanation import Explanation
from runmesh.resolver.refusals import Rules
from tests.unit.shop import Shop

CHAIN = ({"uuid": "a"}, {"uuid": "b", "upstream_blocks": ["a"]}, {"uuid": "c", "upstream_blocks": ["b"]})


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def told(problems: tuple[Problem, ...], *words: str) -> bool:
    """Say whether one problem holds all these words."""
    return any(all(word in str(problem) for word in words) for problem in problems)


# --- mistakes -------------------------------------------------------------------------------------


def test_a_project_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    assert explain(tmp_path / "nowhere", "orders", environment={}).errors


def test_an_unknown_pipeline_is_an_error_with_the_nearest(shop: Shop) -> None:
    shop.ask()
    found = explain(str(shop.path), "order", environment={})
    assert told(found.errors, "order", "did you mean 'orders'?")
    assert found.pipeline.errors == found.errors


def test_a_name_that_leaves_the_project_is_an_error(shop: Shop) -> None:
    shop.ask()
    assert explain(shop.path, "../../etc", environment={}).errors


def test_an_unknown_field_of_a_request_is_an_error_with_the_nearest(shop: Shop) -> None:
    found = shop.ask(request={"executor_typ": "k8s"})
    assert told(found.errors, "executor_typ", "did you mean 'executor_type'?")


@pytest.mark.parametrize(
    "request_", [{"variables": 3}, {"blocks": "load"}, {"id": "a b"}, {"variables": {"x": object()}}]
)
def test_a_request_of_the_wrong_shape_is_an_error(shop: Shop, request_: dict[str, Any]) -> None:
    found = shop.ask(request=request_)
    assert found.errors
    assert found.blocks["load"].executor_type == "local_python"


@pytest.mark.parametrize(
    ("request_", "word"), [({"blocks": ["laod"]}, "request: blocks"), ({"block_config": {"laod": {}}}, "block_config")]
)
def test_an_unknown_block_in_a_request_is_an_error_with_the_nearest(
    shop: Shop, request_: dict[str, Any], word: str
) -> None:
    (problem,) = shop.ask(request=request_).errors
    assert told((problem,), word, "'laod'", "did you mean 'load'?")


def test_an_unknown_type_in_a_requests_configuration_is_an_error(shop: Shop) -> None:
    found = shop.ask(request={"executor_config": {"k8": {}}})
    assert told(found.errors, "request: executor_config", "unknown executor type 'k8'", "did you mean 'k8s'?")


def test_configuration_for_a_type_that_nothing_runs_on_is_a_warning(shop: Shop) -> None:
    assert told(shop.ask(request={"executor_config": {"k8s": {"a": 1}}}).warnings, "executor_config.k8s", "not used")


def test_a_cycle_and_a_missing_upstream_are_errors(shop: Shop) -> None:
    assert told(shop.ask({"upstream_blocks": ["gone"]}).errors, "gone")
    assert told(
        shop.ask({"uuid": "a", "upstream_blocks": ["b"]}, {"uuid": "b", "upstream_blocks": ["a"]}).errors, "a → b"
    )


def test_all_mistakes_are_told_at_once(shop: Shop) -> None:
    found = shop.ask(
        {"executor_type": "k8"},
        {"uuid": "b", "upstream_blocks": ["gone"], "executor_config": {"nonsense": 1}},
        request={"blocks": {"names": ["load", "b", "missing"]}},
    )
    assert len(found.errors) == 4


TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=6,
)
TYPES = st.sampled_from(["k8s", "ecs", "local_python", "k8", "", "{{ env_var('A') }}", "{{ boom", "{{ 1/0 }}"])
CONFIG_KEYS = ["kill_grace", "timeout", "python", "namespace", "pool", "shared", "runtime", "project_path", "x"]
CONFIG = st.dictionaries(st.sampled_from(CONFIG_KEYS), VALUES)
RETRIES = st.dictionaries(st.sampled_from(["retries", "delay", "max_delay", "exponential_backoff", "x"]), VALUES)
BLOCKS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"uuid": st.sampled_from("abc"), "type": st.sampled_from(["data_loader", "sensor", "chart", "dbt", "custom"])},
    optional={
        "executor_type": TYPES,
        "executor_config": CONFIG,
        "retry_config": RETRIES,
        "upstream_blocks": st.lists(st.sampled_from("abcd"), max_size=3, unique=True),
        "configuration": st.dictionaries(st.sampled_from(["dynamic", "x"]), VALUES),
    },
)
PIPELINES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"blocks": st.lists(BLOCKS, max_size=3, unique_by=lambda block: str(block["uuid"]))},
    optional={
        "type": st.sampled_from(["python", "pyspark", "streaming", "integration"]),
        "executor_type": TYPES,
        "executor_config": CONFIG,
        "retry_config": RETRIES,
        "run_pipeline_in_one_process": st.booleans(),
    },
)
ANY_PIPELINE = st.fixed_dictionaries(dict.fromkeys(("blocks", "type", "executor_type", "executor_config"), VALUES))
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "executor_type": TYPES,
        "executor_config": st.dictionaries(st.sampled_from(["k8s", "local_python", "k8"]), CONFIG),
        "block_config": st.dictionaries(st.sampled_from("abcd"), CONFIG),
        "blocks": st.lists(st.sampled_from("abcd"), max_size=2),
        "variables": st.dictionaries(TEXT, VALUES, max_size=2),
    },
)
ANY_REQUEST = st.dictionaries(st.sampled_from(["executor_type", "executor_config", "blocks", "id", "x"]), VALUES)
ENVIRONMENTS = st.dictionaries(st.sampled_from(["DEFAULT_EXECUTOR_TYPE", "A", "KUBE_NAMESPACE"]), TEXT | TYPES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pipeline=PIPELINES | ANY_PIPELINE, request=st.none() | REQUESTS | ANY_REQUEST, environment=ENVIRONMENTS)
def test_whatever_a_user_writes_it_never_raises(
    shop: Shop, pipeline: dict[str, Any], request: dict[str, Any] | None, environment: dict[str, str]
) -> None:
    (shop.path / "metadata.yaml").write_text("{}")
    found = explain(shop.path, {"uuid": "orders"} | pipeline, request=request, environment=environment)
    assert isinstance(found, Explanation)
    assert all(task.executor_type and task.command for task in found.blocks.values())


# --- what a request may bring ---------------------------------------------------------------------


def asked(shop: Shop, request: RunRequest, rules: Rules) -> Explanation:
    shop.ask()
    project = load_project(shop.path, {})
    return explain_pipeline(project, load_pipeline(project, request.pipeline), request, {}, rules=rules)


@pytest.mark.parametrize("field", ["executor_config", "block_config"])
def test_configuration_in_a_request_can_be_forbidden(shop: Shop, field: str) -> None:
    request = RunRequest.model_validate(
        {"pipeline": "orders", field: {"local_python" if "exec" in field else "load": {"pool": "x"}}}
    )
    assert told(
        asked(shop, request, Rules(allow_overrides=False)).errors, f"request: {field}", "RUNMESH_ALLOW_OVERRIDES"
    )
    assert asked(shop, request, Rules()).errors == ()


def test_an_executor_type_in_a_request_is_always_allowed(shop: Shop) -> None:
    request = RunRequest(pipeline="orders", executor_type="k8s")
    assert asked(shop, request, Rules(allow_overrides=False, allow_inline=False)).errors == ()


def test_inline_pipelines_can_be_forbidden(shop: Shop) -> None:
    document = {"uuid": "mine", "blocks": [{"uuid": "load", "type": "custom", "content": "x"}]}
    request = RunRequest(pipeline=document)
    assert told(asked(shop, request, Rules(allow_inline=False)).errors, "RUNMESH_ALLOW_INLINE")
    found = asked(shop, request, Rules())
    assert found.errors == ()
    command = found.blocks["load"].command
    assert json.loads(command[command.index("--pipeline-document") + 1]) == document


def test_a_third_partys_type_is_as_good_as_ours(shop: Shop) -> None:
    request = RunRequest(pipeline="orders", executor_type="slurm")
    found = asked(shop, request, Rules(known_types={"local_python", "slurm"}))
    assert found.errors == ()
    assert found.blocks["load"].executor_type == "slurm"


# --- which blocks run -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (None, ["a", "b", "c"]),
        (["b"], ["b"]),
        ({"names": ["b"], "upstream": True}, ["a", "b"]),
        ({"names": ["b"], "downstream": True}, ["b", "c"]),
        ({"names": ["b"], "upstream": True, "downstream": True}, ["a", "b", "c"]),
    ],
)
def test_a_request_may_run_some_of_the_blocks(shop: Shop, blocks: Any, expected: list[str]) -> None:
    found = shop.ask(*CHAIN, request={"blocks": blocks} if blocks else None)
    assert list(found.blocks) == expected
    assert found.errors == ()


def test_upstream_names_only_what_runs(shop: Shop) -> None:
    found = shop.ask(*CHAIN, request={"blocks": ["b", "c"]})
    assert found.blocks["b"].upstream == ()
    assert found.blocks["c"].upstream == ("b",)


@pytest.mark.parametrize("kind", ["chart", "markdown", "scratchpad"])
def test_blocks_that_never_execute_are_left_out_and_noted(shop: Shop, kind: str) -> None:
    found = shop.ask({}, {"uuid": "note", "type": kind})
    assert list(found.blocks) == ["load"]
    assert told(found.warnings, "block note", "left out")


def test_a_pipeline_without_a_block_to_run_is_an_error(shop: Shop) -> None:
    assert told(shop.ask({"type": "markdown"}).errors, "has no block to run")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "pipeline", "words"),
    [
        ({"language": "sql"}, {}, ("block load", "data_loader blocks in sql", "runtime: mage")),
        ({"type": "dbt", "language": "yaml"}, {}, ("block load", "dbt blocks", "runtime: mage")),
        ({}, {"type": "streaming"}, ("can't run streaming pipelines", "runtime: mage")),
        ({}, {"type": "integration"}, ("can't run integration pipelines",)),
    ],
)
def test_what_would_run_wrongly_is_refused(
    shop: Shop, block: dict[str, Any], pipeline: dict[str, Any], words: tuple[str, ...]
) -> None:
    found = shop.ask(block, **pipeline)
    assert told(found.errors, *words)
    assert found.blocks["load"].executor_type == "local_python"


def test_a_callback_on_a_block_that_does_not_run_is_no_obstacle(shop: Shop) -> None:
    callbacks = [{"uuid": "bell", "type": "callback", "upstream_blocks": ["c"]}]
    assert shop.ask(*CHAIN, callbacks=callbacks, request={"blocks": ["a"]}).errors == ()


def test_mages_runtime_runs_what_ours_can_not(shop: Shop) -> None:
    found = shop.ask({"language": "sql", "executor_config": {"runtime": "mage"}})
    assert found.errors == ()
    assert found.blocks["load"].command[:4] == ("mage", "run", str(shop.path), "orders")


def test_mages_runtime_spends_the_retries_itself(shop: Shop) -> None:
    found = shop.load({"retry_config": {"retries": 3}, "executor_config": {"runtime": "mage"}})
    assert found.retries == RetryPolicy()


def test_some_blocks_of_a_pipeline_in_one_process_is_an_error(shop: Shop) -> None:
    found = shop.ask(*CHAIN, run_pipeline_in_one_process=True, request={"blocks": ["a"]})
    assert told(found.errors, "request: blocks", "runs whole")


# --- edges between executors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "rest", "warned"),
    [
        ({}, {}, False),
        ({"executor_type": "k8s"}, {}, True),
        ({"executor_config": {"pool": "big"}}, {}, True),
        ({"executor_type": "k8s", "executor_config": {"shared": True}}, {}, False),
        ({"executor_type": "k8s"}, {"project": {"remote_variables_dir": "s3://bucket/x"}}, False),
        ({"executor_type": "k8s"}, {"remote_variables_dir": "s3://bucket/x"}, False),
    ],
)
def test_outputs_on_another_executors_disk_are_a_warning(
    shop: Shop,
    below: dict[str, Any],
    rest: dict[str, Any],
    warned: bool,  # noqa: FBT001
) -> None:
    found = shop.ask({}, {"uuid": "below", "upstream_blocks": ["load"], **below}, **rest)
    assert told(found.warnings, "block below", "stored locally") is warned
    assert found.errors == ()


# --- the command ----------------------------------------------------------------------------------


def test_the_command_runs_one_block_with_placeholders_for_what_dispatch_knows(shop: Shop) -> None:
    found = shop.ask()
    assert found.blocks["load"].command == (
        *("runmesh-run", str(shop.path), "orders", "--block-uuid", "load", "--executor-type", "local_python"),
        *("--execution-partition", "{run}", "--run", "{run}", "--key", "{key}", "--attempt", "{attempt}"),
        *("--revision", found.revision),
    )
    assert found.revision


def test_the_request_is_in_the_command(shop: Shop) -> None:
    command = shop.load(
        request={
            "variables": {"day": "mon", "n": [1, None]},
            "execution_partition": "1/20261122",
            "execution_date": datetime(2026, 11, 22, tzinfo=UTC),
            "trigger_name": "-nightly",
        }
    ).command
    after = dict(pairwise(command))
    assert json.loads(after["--runtime-vars"]) == {"day": "mon", "n": [1, None]}
    assert after["--execution-partition"] == "1/20261122"
    assert after["--execution-date"] == "2026-11-22T00:00:00+00:00"
    assert "--trigger-name=-nightly" in command


def test_a_whole_pipelines_command_names_no_block(shop: Shop) -> None:
    assert "--block-uuid" not in shop.ask(run_pipeline_in_one_process=True).pipeline.command


def test_the_project_may_lie_elsewhere_inside_the_job(shop: Shop) -> None:
    found = shop.load({"executor_type": "k8s", "executor_config": {"project_path": "/home/src/shop"}})
    assert found.command[1] == "/home/src/shop"


def test_filling_a_command_leaves_no_placeholder(shop: Shop) -> None:
    argv = fill(shop.load().command, run="r1", key="k1", attempt=2)
    after = dict(pairwise(argv))
    assert (after["--run"], after["--key"], after["--attempt"], after["--execution-partition"]) == (
        "r1",
        "k1",
        "2",
        "r1",
    )
    assert not any("{" in argument for argument in argv)


@pytest.mark.parametrize("name", ["{run}", "{key}", "x{run}", "--run"])
def test_filling_never_touches_what_a_user_wrote(shop: Shop, name: str) -> None:
    found = shop.ask({"uuid": name}, request={"variables": {"{run}": "{key}"}, "trigger_name": "{run}"})
    argv = fill(found.blocks[name].command, run="r1", key="k1", attempt=1)
    assert name in argv or f"--block-uuid={name}" in argv
    assert argv[argv.index("--trigger-name") + 1] == "{run}"
    assert argv[argv.index("--runtime-vars") + 1] == '{"{run}":"{key}"}'


def test_variables_that_no_argument_can_hold_are_an_error(shop: Shop) -> None:
    found = shop.ask(*CHAIN, request={"variables": {"x": "y" * LONGEST_ARGUMENT}})
    assert [problem.path for problem in found.errors] == ["request: variables"]
    assert told(found.errors, "100 KB", "reference")


# --- the whole ------------------------------------------------------------------------------------


def test_a_run_request_and_a_mapping_are_asked_alike(shop: Shop) -> None:
    shop.ask()
    as_mapping = explain(shop.path, "orders", request={"executor_type": "k8s"}, environment={})
    as_event = explain(shop.path, "orders", request=RunRequest(pipeline="orders", executor_type="k8s"), environment={})
    assert as_mapping == as_event


def test_a_document_is_explained_like_a_file(shop: Shop) -> None:
    document = {"uuid": "orders", "blocks": [{"uuid": "load", "type": "custom", "executor_type": "{{ env_var('A') }}"}]}
    shop.ask()
    found = explain(shop.path, document, environment={"A": "k8s"})
    assert found.blocks["load"].executor_type == "k8s"
    assert found.errors == ()


def test_the_resolver_and_explain_say_the_same(shop: Shop) -> None:
    shown = shop.ask(*CHAIN, executor_type="k8s", request={"variables": {"a": 1}})
    project = load_project(shop.path, {})
    request = RunRequest(pipeline="orders", variables={"a": 1})
    served = explain_pipeline(project, load_pipeline(project, "orders"), request, {}, revision=shown.revision)
    assert served == shown


def test_a_thousand_blocks_that_say_the_same_share_one_configuration(shop: Shop) -> None:
    blocks = [{"uuid": f"b{n}", "executor_type": "k8s", "executor_config": {"namespace": "x"}} for n in range(1000)]
    found = shop.ask(*blocks)
    assert len({id(block.config) for block in found.blocks.values()}) == 1

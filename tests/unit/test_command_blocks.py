"""What is decided for command blocks: their argv, environment and image, and what they can't have."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.errors import Problem
from runmesh.events import RunRequest
from runmesh.projects import load_pipeline, load_project
from runmesh.resolver import explain
from runmesh.resolver.explain import explain_pipeline
from runmesh.resolver.explanation import BlockExplanation, Explanation
from runmesh.resolver.owed import execute
from runmesh.resolver.plan import plan
from runmesh.settings import Settings
from tests.unit.shop import Document, Shop

ECHO: Document = {"type": None, "command": ["echo", "--run", "{run}", "a b", "'\"🌊"]}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def echo(shop: Shop, block: Document | None = None, **rest: Any) -> BlockExplanation:
    return shop.load({**ECHO, **(block or {})}, **rest)


def messages(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in problems]


def test_the_argv_is_the_users_own_to_the_last_character(shop: Shop) -> None:
    found = shop.ask(ECHO, request={"variables": {"day": 3}})
    assert not found.errors
    made = plan(found, RunRequest(pipeline="orders"), run="run-1", settings=Settings())
    task = execute(made, "load", 2, 0)
    assert task.command == ("echo", "--run", "{run}", "a b", "'\"🌊")


def test_it_is_told_which_task_it_is_and_where_its_project_is(shop: Shop) -> None:
    found = shop.ask({**ECHO, "environment": {"CITY": "Bern"}}, request={"variables": {"day": 3}})
    task = execute(plan(found, RunRequest(pipeline="orders"), run="run-1", settings=Settings()), "load", 2, 0)
    assert task.environment == {
        "CITY": "Bern",
        "RUNMESH_RUN": "run-1",
        "RUNMESH_BLOCK": "load",
        "RUNMESH_ATTEMPT": "2",
        "RUNMESH_PROJECT": "shop",
        "RUNMESH_PIPELINE": "orders",
        "RUNMESH_PROJECT_PATH": str(shop.path),
        "RUNMESH_VARIABLES": '{"day":3}',
    }


def test_its_variables_are_those_that_a_python_block_would_see(shop: Shop) -> None:
    request = {"variables": {"b": "run"}, "event": {"a": "event", "b": "event", "c": "event"}}
    found = echo(shop, request=request, variables={"a": "pipeline", "b": "pipeline"})
    assert json.loads(found.environment["RUNMESH_VARIABLES"]) == {"a": "pipeline", "b": "run", "c": "event"}


def test_variables_that_no_environment_takes_are_refused(shop: Shop) -> None:
    (problem,) = echo(shop, request={"variables": {"x": "y" * 100_000}}).errors
    assert problem.path == "request: variables"
    assert "more than the 100 KB that one argument takes" in problem.message


def test_an_image_is_a_value_of_the_blocks_configuration(shop: Shop) -> None:
    found = echo(shop, {"image": "alpine:3", "executor_type": "k8s", "executor_config": {"namespace": "batch"}})
    assert found.config["container"]["image"] == "alpine:3"
    assert found.provenance["container.image"] == "block"
    assert found.config["namespace"] == "batch"
    assert not found.errors


def test_an_image_goes_wherever_a_request_sends_the_block(shop: Shop) -> None:
    block = {"image": "alpine:3", "executor_type": "k8s", "executor_config": {"namespace": "batch"}}
    found = echo(shop, block, request={"executor_type": "ecs"})
    assert found.config["image"] == "alpine:3"
    assert "namespace" not in found.config


def test_local_python_runs_no_images(shop: Shop) -> None:
    (problem,) = echo(shop, {"image": "alpine:3"}).errors
    assert str(problem).startswith("block load: image: local_python runs no images")


def test_it_has_no_runtime_and_keeps_its_retries(shop: Shop) -> None:
    found = echo(shop, {"retry_config": {"retries": 2}}, project={"runtime": "mage"})
    assert not found.errors
    assert found.retries.retries == 2
    assert found.command[0] == "echo"


def test_mage_reads_no_pipeline_with_commands(shop: Shop) -> None:
    mages = {"uuid": "below", "type": "custom", "upstream_blocks": ["load"], "executor_config": {"runtime": "mage"}}
    (problem,) = shop.ask(ECHO, mages).errors
    assert str(problem).startswith("block below: runtime: Mage reads no pipeline with command blocks, such as 'load'")


def test_it_has_no_answer_of_mages(shop: Shop) -> None:
    assert not echo(shop, {"executor_type": "k8s", "executor_config": {"resource_limits": {"cpu": 1}}}).differs


def test_it_shares_no_data_so_executors_may_differ(shop: Shop) -> None:
    found = shop.ask({**ECHO, "executor_type": "k8s"}, {"uuid": "below", "type": "custom", "upstream_blocks": ["load"]})
    assert not [warning for warning in found.warnings if "outputs are stored locally" in warning.message]


CALLBACK = {"uuid": "told", "type": "callback", "upstream_blocks": ["load"]}
CONDITION = {"uuid": "only_if", "type": "conditional", "upstream_blocks": ["load"]}


@pytest.mark.parametrize(
    ("block", "pipeline", "expected"),
    [
        ({"configuration": {"dynamic": True}}, {}, "block load: configuration.dynamic: a command block can't be"),
        ({"has_callback": True}, {}, "block load: has_callback: a command block can't have callbacks"),
        ({}, {"callbacks": [CALLBACK]}, "callbacks: told: a command block can't have callbacks"),
        ({}, {"conditionals": [CONDITION]}, "conditionals: only_if: a command block can't have conditionals"),
        ({}, {"callbacks": [{**CALLBACK, **ECHO, "uuid": "x"}]}, "callbacks: x: a command block can't be a callback"),
        ({}, {"run_pipeline_in_one_process": True}, "block load: a command block is a process of its own"),
        ({}, {"type": "streaming"}, "block load: a command block is a process of its own"),
    ],
)
def test_what_only_native_blocks_can_have_is_refused(
    shop: Shop, block: Document, pipeline: dict[str, Any], expected: str
) -> None:
    found = shop.ask({**ECHO, **block}, **pipeline)
    assert [message for message in messages(found.errors) if message.startswith(expected)], found.errors
    assert not [message for message in messages(found.errors) if "runtime: mage" in message]


def test_it_is_no_child_of_a_dynamic_block(shop: Shop) -> None:
    dynamic = {"uuid": "many", "type": "custom", "configuration": {"dynamic": True}}
    found = shop.ask(dynamic, {**ECHO, "upstream_blocks": ["many"]})
    assert [message for message in messages(found.errors) if "once for each item of a dynamic block" in message]


# --- without a project -----------------------------------------------------------------------------


def inline(directory: Path, *blocks: Document) -> Explanation:
    return explain(directory / "cron", {"name": "nightly", "blocks": list(blocks)}, environment={})


def test_commands_alone_need_no_project(tmp_path: Path) -> None:
    found = inline(tmp_path, {"uuid": "a", "command": ["true"]})
    assert not found.errors
    assert (found.project, found.revision, found.pipeline.name) == ("cron", "", "nightly")
    assert "RUNMESH_PROJECT_PATH" not in found.blocks["a"].environment


def test_any_other_block_needs_one(tmp_path: Path) -> None:
    (problem,) = inline(tmp_path, {"uuid": "a", "command": ["true"]}, {"uuid": "b", "type": "custom"}).errors
    assert str(problem) == ("project: there is no project 'cron' (only a pipeline of command blocks needs none)")


def test_where_there_is_a_project_it_counts(shop: Shop) -> None:
    shop.ask()
    found = explain(shop.path, {"blocks": [{"uuid": "a", "command": ["true"]}]}, environment={})
    assert found.revision
    assert found.blocks["a"].environment["RUNMESH_PROJECT_PATH"] == str(shop.path)


def test_the_example_in_the_documentation_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    document = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    found = explain(tmp_path / "cron", document, environment={})
    assert (found.errors, found.warnings) == ((), ())
    assert list(found.blocks) == ["dump", "upload"]


# --- events and triggers ------------------------------------------------------------------------------


def test_an_event_reaches_our_runtime_by_a_flag(shop: Shop) -> None:
    command = shop.load(request={"event": {"key": "x"}}).command
    assert command[command.index("--event") + 1] == '{"key":"x"}'
    assert "--event" not in shop.load().command


def test_an_event_reaches_mage_among_the_variables(shop: Shop) -> None:
    found = shop.load(request={"event": {"a": 1, "b": 1}, "variables": {"c": 3}, "runtime": "mage"}, variables={"b": 2})
    given = json.loads(found.command[found.command.index("--runtime-vars") + 1])
    assert given == {"a": 1, "c": 3, "event": {"a": 1, "b": 1}}


TRIGGERS = """
triggers:
- name: nightly
  schedule_type: time
  schedule_interval: '@daily'
  status: active
  start_time: 2026-01-01 00:00:00
  envs: [prod]
  sla: 60
  description: every night
  token: null
  last_enabled_at: null
  variables: {a: trigger, b: trigger, day: 2026-03-01}
  settings: {timeout: 60, timeout_status: cancelled, allow_blocks_to_fail: true, pipeline_run_limit: 3}
- {name: bare}
"""


def with_triggers(shop: Shop, text: str = TRIGGERS) -> Shop:
    (shop.path / "pipelines/orders/triggers.yaml").write_text(text)
    return shop


def asked(shop: Shop, **request: Any) -> tuple[Explanation, dict[str, Any]]:
    found = with_triggers(shop).ask(request={"trigger_name": "nightly", **request})
    command = found.blocks["load"].command
    return found, json.loads(command[command.index("--runtime-vars") + 1])


def test_a_triggers_variables_go_below_the_requests(shop: Shop) -> None:
    found, variables = asked(shop, variables={"b": "run"})
    assert not found.errors
    assert not found.warnings
    assert variables == {"a": "trigger", "b": "run", "day": "2026-03-01"}


def test_a_triggers_limit_of_runs_is_its_own(shop: Shop) -> None:
    found, _ = asked(shop)
    assert found.limits
    assert found.limits.per_trigger == 3


def test_a_name_that_no_trigger_has_is_a_label(shop: Shop) -> None:
    found = with_triggers(shop).ask(request={"trigger_name": "webhook"})
    assert not found.errors
    assert "--runtime-vars" not in found.blocks["load"].command
    assert "webhook" in found.blocks["load"].command


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("triggers: [", "triggers.yaml:2: is no YAML"),
        ("- a", "triggers.yaml: must be a mapping of keys to values"),
        ("triggers: {a: b}", "triggers.yaml: triggers: must be a list, not a mapping"),
        ("triggers: [x]", "triggers.yaml: triggers[0]: must be a mapping, not text"),
        ("triggers: [{variables: {}}]", "triggers.yaml: triggers[0].name: is missing"),
        ("triggers: [{name: a}, {name: a}]", "triggers.yaml: triggers[1].name: 'a' is the name of another trigger"),
        ("triggers: [{name: a, variables: []}]", "triggers.yaml: triggers[0].variables: must be a mapping, not a list"),
        ("triggers: [{name: a, variables: {x: .nan}}]", "triggers.yaml: triggers[0].variables: holds a number"),
        ("triggers: [{name: a, settings: {timeout: -5}}]", "triggers.yaml: triggers[0].settings.timeout: must be"),
        ("triggers: [{name: a, settings: {timeout: soon}}]", "triggers.yaml: triggers[0].settings.timeout: must be"),
        ("triggers: [{name: a, settings: {timeout_status: gone}}]", "triggers.yaml: triggers[0].settings.timeout_st"),
        ("triggers: [{name: a, settings: {allow_blocks_to_fail: 1}}]", "triggers.yaml: triggers[0].settings.allow_b"),
    ],
)
def test_broken_triggers_matter_only_to_those_who_name_one(shop: Shop, text: str, expected: str) -> None:
    expected = f"pipelines/orders/{expected}"
    without = with_triggers(shop, text).ask()
    assert not without.errors
    assert [message for message in messages(without.warnings) if message.startswith(expected)], without.warnings
    named = with_triggers(shop, text).ask(request={"trigger_name": "a"})
    assert [message for message in messages(named.errors) if message.startswith(expected)], named.errors


def test_an_unknown_key_of_a_trigger_is_a_warning(shop: Shop) -> None:
    found = with_triggers(shop, "triggers: [{name: a, variabels: {}, settings: {timeot: 1}}]").ask()
    assert any("did you mean 'variables'?" in str(warning) for warning in found.warnings)
    assert any("did you mean 'timeout'?" in str(warning) for warning in found.warnings)


def test_a_pipelines_document_has_no_triggers(shop: Shop) -> None:
    with_triggers(shop).ask()
    document = {"uuid": "orders", "blocks": [{"uuid": "load", "type": "custom", "content": ""}]}
    request = RunRequest(pipeline=document, trigger_name="nightly")
    project = load_project(shop.path, {})
    found = explain_pipeline(project, load_pipeline(project, document), request, {})
    assert "--runtime-vars" not in found.blocks["load"].command

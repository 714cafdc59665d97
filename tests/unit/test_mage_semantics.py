"""Lines of mage.md §6, and traps of its §0, that no other test is about; docs/mage.md names a test for each."""

from pathlib import Path
from typing import Any

import pytest

from runmesh.errors import Invalid
from runmesh.events import Cause, RunState, TaskState
from runmesh.projects import Block, RetryPolicy
from runmesh.projects.fanout import Role, role
from runmesh.resolver.advance import advance
from runmesh.runtime.arguments import Arguments
from runmesh.runtime.code import Code, Source
from tests.unit.plans import NOW, begun, fact_of, plan_of
from tests.unit.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def code(kind: str, text: str) -> Code:
    return Code(Source("only", kind, text, "<shop/only>", f"shop.{kind}s.only"))


# --- 6.1 decorators, 6.3 sensors ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data_loader", "transformer", "data_exporter", "custom"])
def test_the_decorator_of_a_blocks_type_is_there_without_an_import(kind: str) -> None:
    assert code(kind, f"@{kind}\ndef f(): return 7\n").run([], {}) == [7]


def test_a_function_with_another_types_decorator_is_none_of_the_block() -> None:
    text = "from mage_ai.data_preparation.decorators import data_loader\n@data_loader\ndef f(): return 1\n"
    with pytest.raises(Invalid, match="decorates no function with @transformer"):
        code("transformer", text).run([], {})


def test_preprocessers_get_inputs_and_keywords_and_their_result_is_dropped() -> None:
    text = "seen = []\n@preprocesser\ndef p(x, **kw):\n    seen.append((x, kw['n']))\n    return 'dropped'\n"
    assert code("custom", f"{text}@custom\ndef f(x): return [*seen, x]\n").run(["in"], {"n": 1}) == [("in", 1), "in"]


def test_a_sensor_is_asked_every_minute() -> None:
    assert Arguments("/shop", "p", execution_date=NOW).sensor_interval == 60


def test_a_sensors_named_parameters_get_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    code("sensor", "@sensor\ndef f(above): print(above); return True\n").sense([5], {}, 0)
    assert capsys.readouterr().out == "5\n"


def test_a_block_that_asks_for_no_keywords_has_tests_that_get_them() -> None:
    text = "@custom\ndef f(): return 1, 2\n@test\ndef t(one, two, **kw): assert (one, two, kw['n']) == (1, 2, 3)\n"
    block = code("custom", text)
    assert block.test(block.run([], {"n": 3}), {"n": 3}) == (1, 0)


# --- 6.6 retries, 0.20 ---------------------------------------------------------------------------------


def test_three_retries_are_four_attempts_whatever_max_delay_says() -> None:
    policy = RetryPolicy.of({"retries": 3, "delay": 1, "max_delay": 3})
    assert policy.retries == 3
    assert [policy.wait(retry) for retry in (1, 2, 3)] == [1, 2, 3]


def test_a_block_that_took_too_long_is_tried_again() -> None:
    plan = plan_of({"load": []}, retries=RetryPolicy(retries=1, delay=0))
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", TaskState.FAILED, Cause.TIMEOUT)], NOW)
    assert state.tasks["load"].attempt == 2


def test_in_one_process_the_retries_are_those_of_pipeline_and_project_and_a_blocks_own_are_the_blocks(
    shop: Shop,
) -> None:
    found = shop.ask(
        {"retry_config": {"retries": 9}},
        project={"retry_config": {"retries": 1, "delay": 7}},
        retry_config={"retries": 2},
        run_pipeline_in_one_process=True,
    )
    assert (found.pipeline.retries.retries, found.pipeline.retries.delay) == (2, 7)
    assert found.blocks["load"].retries == RetryPolicy(retries=9), "or they would multiply"


def test_in_one_process_wrong_retries_of_a_block_are_an_error(shop: Shop) -> None:
    found = shop.ask({"retry_config": {"retries": "many"}}, run_pipeline_in_one_process=True)
    assert [error.path for error in found.errors] == ["block load: retry_config: retries"]


def test_a_blocks_time_limit_counts_for_nothing_in_one_process(shop: Shop) -> None:
    assert shop.ask({"timeout": 5}, run_pipeline_in_one_process=True).pipeline.timeout is None
    assert shop.load({"timeout": 5}).timeout == 5


# --- 6.5 callbacks -------------------------------------------------------------------------------------


def test_cancelled_callbacks_run_for_what_the_failure_of_another_block_stopped() -> None:
    plan = plan_of({"load": [], "beside": []})
    beside = plan.tasks["beside"].model_copy(update={"callbacks": ("cancelled",)})
    own = beside.model_copy(update={"callbacks": ()})
    plan = plan.model_copy(update={"tasks": plan.tasks | {"beside": beside}, "callbacks": {"beside": own}})
    state = begun(plan)
    state = advance(plan, state, [fact_of(plan, state, "load", TaskState.FAILED, Cause.USER, exit_code=1)], NOW)
    stopped = fact_of(plan, state, "beside", TaskState.CANCELLED, Cause.CANCELLED)
    state = advance(plan, state, [stopped], NOW)
    assert (state.state, set(state.out())) == (RunState.FAILING, {"_callback:beside"})


def test_a_task_calls_back_for_the_blocks_of_a_process_that_was_stopped(shop: Shop) -> None:
    tell = {"uuid": "tell", "type": "callback", "upstream_blocks": ["load"]}
    source = "@callback('cancelled')\ndef f(**kwargs): pass\n"
    alone = shop.load(callbacks=[tell | {"content": source}])
    whole = shop.ask(callbacks=[tell | {"content": source}], run_pipeline_in_one_process=True)
    assert alone.callbacks == whole.pipeline.callbacks == ("cancelled",)
    assert set(whole.steps) == {"_callback:_pipeline"}


# --- 6.7 triggers, queues --------------------------------------------------------------------------------


def test_settings_of_a_trigger_that_need_a_schedule_are_not_read(shop: Shop) -> None:
    settings = "{skip_if_previous_running: true, create_initial_pipeline_run: true, landing_time_enabled: true}"
    text = f"triggers: [{{name: nightly, schedule_type: time, settings: {settings}}}]"
    (shop.path / "pipelines/orders/triggers.yaml").write_text(text)
    found = shop.ask(request={"trigger_name": "nightly"})
    assert (found.errors, found.warnings, found.limits) == ((), (), None)


def test_mages_own_queue_is_not_read(shop: Shop) -> None:
    found = shop.ask(project={"queue_config": {"concurrency": 1, "queue_type": "process"}})
    assert (found.errors, found.warnings, found.limits) == ((), (), None)


# --- 6.8 dynamic blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({"dynamic": True}, Role(dynamic=True)),
        ({"reduce_output": True}, Role(reduces=True)),
        ({"dynamic": {"parent": True}}, Role(dynamic=True)),
        ({"dynamic": {"reduce_output": True}}, Role(reduces=True)),
        ({"dynamic": {"reduce_output_upstream": True}}, Role(gathers=True)),
        ({"dynamic": {"parent": True, "modes": [{"type": "stream"}]}}, Role(dynamic=True)),
        ({"dynamic": "true"}, Role()),
        ({"dynamic": 1}, Role()),
        ({"reduce_output": "yes"}, Role()),
        ({}, Role()),
    ],
)
def test_what_configuration_makes_a_block_dynamic_or_reduces(configuration: dict[str, Any], expected: Role) -> None:
    assert role(Block("b", "custom", configuration=configuration)) == expected

"""DESIGN §4: which executor runs a block, or a whole pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.shop import Shop

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "executor_choice.json").read_text())
TYPES = ("pyspark", "k8s", "ecs", "gcp_cloud_run", "azure_container_instance")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("choice"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_agrees_with_the_recorded_choices(shared_shop: Shop, case: dict[str, Any]) -> None:
    asked = case["request_executor_type"]
    found = shared_shop.ask(
        case["block"],
        request=None if asked is None else {"executor_type": asked},
        environment=case["environment"],
        **case["pipeline"],
    )
    chosen = {"block": found.blocks["load"].executor_type, "pipeline": found.pipeline.executor_type}
    assert chosen == case["expected"]


def test_there_are_400_recorded_choices() -> None:
    assert len(CASES) == 400


@pytest.mark.parametrize(
    ("level", "executor_type", "question"),
    [
        (
            "request",
            "gcp_cloud_run",
            {"request": {"executor_type": "gcp_cloud_run"}, "type": "pyspark", "executor_type": "ecs"},
        ),
        ("pyspark_pipeline", "pyspark", {"block": {"executor_type": "k8s"}, "type": "pyspark", "executor_type": "ecs"}),
        ("block", "k8s", {"block": {"executor_type": "k8s"}, "executor_type": "ecs"}),
        ("pipeline", "ecs", {"executor_type": "ecs", "project": {"executor_type": "k8s"}}),
        (
            "project",
            "k8s",
            {"project": {"executor_type": "k8s"}, "environment": {"DEFAULT_EXECUTOR_TYPE": "ecs"}},
        ),
        ("DEFAULT_EXECUTOR_TYPE", "ecs", {"environment": {"DEFAULT_EXECUTOR_TYPE": "ecs"}}),
        ("default", "local_python", {}),
    ],
)
def test_each_level_beats_the_ones_below_it(
    shop: Shop, level: str, executor_type: str, question: dict[str, Any]
) -> None:
    found = shop.load(**question)
    assert (found.level, found.executor_type) == (level, executor_type)


@pytest.mark.parametrize("value", [None, "", "local_python"])
def test_nothing_and_local_python_mean_not_chosen_here(shop: Shop, value: str | None) -> None:
    found = shop.load(
        {"executor_type": value},
        executor_type=value,
        project={"executor_type": value},
        environment={"DEFAULT_EXECUTOR_TYPE": "local_python" if value is None else value},
    )
    assert (found.level, found.executor_type) == ("default", "local_python")
    assert found.errors == ()


def test_what_was_not_chosen_is_named_with_its_reason(shop: Shop) -> None:
    found = shop.load({"executor_type": "local_python"}, executor_type="k8s")
    assert [(skipped.level, skipped.reason) for skipped in found.skipped] == [
        ("request", "not chosen here: absent"),
        ("pyspark_pipeline", "not chosen here: the pipeline's type is 'python'"),
        ("block", "not chosen here: local_python"),
    ]


@pytest.mark.parametrize("level", ["block", "pipeline", "project", "environment"])
def test_local_python_force_chooses_local_python_and_stops(shop: Shop, level: str) -> None:
    forced = "local_python_force"
    found = shop.load(
        {"executor_type": forced if level == "block" else None},
        executor_type=forced if level == "pipeline" else "k8s" if level == "block" else None,
        project={"executor_type": forced if level == "project" else "k8s" if level in ("block", "pipeline") else None},
        environment={"DEFAULT_EXECUTOR_TYPE": forced if level == "environment" else "k8s"},
    )
    assert found.executor_type == "local_python"
    assert found.level == ("DEFAULT_EXECUTOR_TYPE" if level == "environment" else level)


@pytest.mark.parametrize("asked", ["local_python", "local_python_force"])
def test_a_request_for_local_python_means_it(shop: Shop, asked: str) -> None:
    found = shop.load({"executor_type": "k8s"}, request={"executor_type": asked})
    assert (found.executor_type, found.level) == ("local_python", "request")


@pytest.mark.parametrize(
    ("content", "executor_type"),
    [("x = 'spark'", "pyspark"), ('x = "spark"', "pyspark"), ("spark", "local_python"), ("'pyspark'", "local_python")],
)
def test_a_sensor_of_a_pyspark_pipeline_runs_on_spark_if_it_names_it(
    shop: Shop, content: str, executor_type: str
) -> None:
    found = shop.ask({"type": "sensor", "content": content}, type="pyspark")
    assert found.blocks["load"].executor_type == executor_type
    assert found.pipeline.executor_type == "pyspark"


def test_a_sensors_file_is_read_for_that(shop: Shop) -> None:
    (shop.path / "sensors").mkdir()
    (shop.path / "sensors" / "load.py").write_text("kwargs['spark']")
    assert shop.load({"type": "sensor"}, type="pyspark").executor_type == "pyspark"


@pytest.mark.parametrize("rendered", ["{{ env_var('UNSET') }}", "{{ env_var('UNSET', '') }}", "{{ env_var('BLANK') }}"])
@pytest.mark.parametrize("level", ["block", "pipeline"])
def test_a_template_that_renders_to_nothing_is_not_chosen_here_with_a_warning(
    shop: Shop, rendered: str, level: str
) -> None:
    environment = {"BLANK": " ", "DEFAULT_EXECUTOR_TYPE": "k8s"}
    on_block = {"executor_type": rendered} if level == "block" else {}
    on_pipeline = {"executor_type": rendered} if level == "pipeline" else {}
    found = shop.load(on_block, environment=environment, **on_pipeline)
    assert (found.executor_type, found.level) == ("k8s", "DEFAULT_EXECUTOR_TYPE")
    assert any("not chosen here" in problem.message for problem in found.warnings)
    assert found.errors == ()


def test_a_template_of_the_project_that_renders_to_none_is_not_chosen_here_with_a_warning(shop: Shop) -> None:
    found = shop.load(project={"executor_type": '{{ env_var("UNSET") }}'}, environment={"DEFAULT_EXECUTOR_TYPE": "k8s"})
    assert (found.executor_type, found.level, found.errors) == ("k8s", "DEFAULT_EXECUTOR_TYPE", ())
    assert "metadata.yaml: executor_type: 'None' renders to 'None': not chosen here" in map(str, found.warnings)


def test_none_is_no_type_where_nothing_was_rendered(shop: Shop) -> None:
    assert any(
        "unknown executor type 'None'" in str(problem) for problem in shop.load({"executor_type": "None"}).errors
    )


def test_a_template_on_the_project_is_rendered_too(shop: Shop) -> None:
    found = shop.load(project={"executor_type": '{{ env_var("WHERE") }}'}, environment={"WHERE": "ecs"})
    assert (found.executor_type, found.level) == ("ecs", "project")


def test_a_secret_can_not_choose(shop: Shop) -> None:
    found = shop.load({"executor_type": "{{ mage_secret_var('where') }}"})
    assert any("mage_secret_var" in str(problem) for problem in found.errors)


@pytest.mark.parametrize(
    ("question", "path", "level"),
    [
        ({"request": {"executor_type": "k8"}}, "request: executor_type", "request level"),
        (
            {"block": {"executor_type": "k8"}},
            "block load: executor_type",
            "block level, pipelines/orders/metadata.yaml",
        ),
        ({"executor_type": "k8"}, "pipelines/orders/metadata.yaml: executor_type", "pipeline level"),
        ({"project": {"executor_type": "k8"}}, "metadata.yaml: executor_type", "project level"),
        ({"environment": {"DEFAULT_EXECUTOR_TYPE": "K8"}}, "DEFAULT_EXECUTOR_TYPE", "environment level"),
    ],
)
def test_an_unknown_type_is_an_error_that_names_level_value_and_the_nearest(
    shop: Shop, question: dict[str, Any], path: str, level: str
) -> None:
    found = shop.load(**question)
    (problem,) = found.errors
    assert problem.path == path
    assert "unknown executor type 'k8'" in problem.message.lower()
    assert level in problem.message
    assert problem.hint == "did you mean 'k8s'?"


def test_mages_default_type_in_capitals_is_an_error_here(shop: Shop) -> None:
    (problem,) = shop.load(environment={"DEFAULT_EXECUTOR_TYPE": "K8S"}).errors
    assert problem.hint == "did you mean 'k8s'?"


def test_an_empty_type_in_a_request_is_unknown(shop: Shop) -> None:
    assert "unknown executor type ''" in str(shop.load(request={"executor_type": ""}).errors[0])


def test_an_unknown_type_is_an_error_also_where_a_higher_level_decides(shop: Shop) -> None:
    found = shop.load({"executor_type": "k8s"}, executor_type="esc")
    assert found.executor_type == "k8s"
    assert [problem.hint for problem in found.errors] == ["did you mean 'ecs'?"]


@pytest.mark.parametrize("executor_type", TYPES)
def test_every_type_can_run_a_whole_pipeline(shop: Shop, executor_type: str) -> None:
    found = shop.ask(executor_type=executor_type, run_pipeline_in_one_process=True)
    assert (found.pipeline.executor_type, found.pipeline.level) == (executor_type, "pipeline")
    assert found.pipeline.whole
    assert found.errors == ()


def test_a_whole_pipeline_does_not_look_at_its_blocks(shop: Shop) -> None:
    found = shop.ask({"executor_type": "k8s"}, run_pipeline_in_one_process=True)
    assert (found.pipeline.executor_type, found.pipeline.level) == ("local_python", "default")


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ({}, False),
        ({"type": "streaming"}, True),
        ({"run_pipeline_in_one_process": True}, True),
        ({"environment": {"RUN_PIPELINE_IN_ONE_PROCESS": "true"}}, True),
        ({"environment": {"RUN_PIPELINE_IN_ONE_PROCESS": "true"}, "run_pipeline_in_one_process": False}, False),
        ({"request": {"run_pipeline_in_one_process": True}}, True),
        ({"request": {"run_pipeline_in_one_process": False}, "run_pipeline_in_one_process": True}, False),
    ],
)
def test_what_makes_a_pipeline_run_whole(shop: Shop, question: dict[str, Any], whole: bool) -> None:  # noqa: FBT001
    assert shop.ask(**question).pipeline.whole is whole

"""The keyword arguments of block functions: one test for each row of mage.md §6.2."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runmesh.projects import Block, Pipeline, Project, Templates
from runmesh.runtime.arguments import Arguments
from runmesh.runtime.keywords import keywords

DATE = datetime(2024, 2, 29, 13, 5, tzinfo=UTC)


def given(variables: dict[str, Any] | None = None, index: int | None = None, **arguments: Any) -> dict[str, Any]:
    read = Arguments("/shop", "p", **({"execution_date": DATE} | arguments))
    project = Project("shop", Path("/shop"), {}, Templates({}))
    block = Block("b", "custom", configuration={"limit": 3})
    return keywords(project, Pipeline("p", variables=variables or {}), block, read, {}, index)


def test_a_plain_run_gives_exactly_these() -> None:
    found = given(run="r1", attempt=2, trigger_name="hourly", execution_partition="3/x")
    found.pop("logger")
    assert found == {
        "ds": "2024-02-29",
        "hr": "13",
        "env": "prod",
        "event": {},
        "execution_date": DATE,
        "execution_partition": "3/x",
        "pipeline_run_id": "r1",
        "trigger_name": "hourly",
        "retry": {"attempts": 2},
        "configuration": {"limit": 3},
        "context": {},
        "pipeline_uuid": "p",
        "block_uuid": "b",
        "repo_path": "/shop",
    }


def test_run_and_trigger_variables_beat_those_of_the_pipeline() -> None:
    found = given({"a": "pipeline", "b": "pipeline"}, runtime_vars={"b": "run"})
    assert (found["a"], found["b"]) == ("pipeline", "run")


def test_event_variables_only_fill_gaps() -> None:
    found = given({"a": "pipeline"}, runtime_vars={"b": "run"}, event={"a": 1, "b": 2, "c": 3})
    assert (found["a"], found["b"], found["c"]) == ("pipeline", "run", 3)


def test_the_event_is_empty_unless_given_and_merged_over_a_variable_of_that_name() -> None:
    assert given()["event"] == {}
    assert given({"event": {"a": 1, "b": 1}}, event={"b": 2})["event"] == {"a": 1, "b": 2}
    assert given({"event": "text"}, event={"b": 2})["event"] == {"b": 2}


def test_ds_and_hr_come_of_the_execution_date_whatever_the_variables_say() -> None:
    found = given({"ds": "mine", "hr": "mine"})
    assert (found["ds"], found["hr"], found["execution_date"]) == ("2024-02-29", "13", DATE)


def test_the_execution_partition_is_that_of_the_outputs() -> None:
    assert given(execution_partition="3/20240229T130500")["execution_partition"] == "3/20240229T130500"


def test_the_pipeline_run_id_is_the_run() -> None:
    assert given(run="r1", pipeline_run_id="7")["pipeline_run_id"] == "r1"
    assert given(pipeline_run_id="7")["pipeline_run_id"] == "7"


def test_the_trigger_name_is_none_without_one() -> None:
    assert given()["trigger_name"] is None


def test_env_is_prod_whatever_the_variables_say() -> None:
    assert given({"env": "dev"}, runtime_vars={"env": "test"})["env"] == "prod"


def test_interval_variables_are_absent_without_a_time_trigger() -> None:
    assert not [name for name in given() if name.startswith("interval")]


def test_interval_variables_of_a_run_become_dates(capsys: pytest.CaptureFixture[str]) -> None:
    variables = {"interval_start_datetime": "2024-02-29T12:00:00+00:00", "interval_seconds": 3600}
    found = given(runtime_vars=variables | {"interval_end_datetime": "soon"})
    assert found["interval_start_datetime"] == datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert (found["interval_seconds"], found["interval_end_datetime"]) == (3600, "soon")
    assert "interval_end_datetime is no date: 'soon'" in capsys.readouterr().err


def test_the_configuration_is_the_blocks_own() -> None:
    assert given({"configuration": "mine"})["configuration"] == {"limit": 3}


def test_the_context_is_one_dict_for_the_process() -> None:
    context: dict[str, Any] = {}
    read = Arguments("/shop", "p", execution_date=DATE)
    project = Project("shop", Path("/shop"), {}, Templates({}))
    for name in ("a", "b"):
        assert keywords(project, Pipeline("p"), Block(name, "custom"), read, context)["context"] is context


def test_pipeline_block_and_project_are_named() -> None:
    found = given({"pipeline_uuid": "mine", "block_uuid": "mine", "repo_path": "mine"})
    assert (found["pipeline_uuid"], found["block_uuid"], found["repo_path"]) == ("p", "b", "/shop")


def test_there_is_no_spark() -> None:
    assert "spark" not in given()


def test_only_a_dynamic_child_has_a_dynamic_block_index() -> None:
    assert "dynamic_block_index" not in given()
    assert given(index=0)["dynamic_block_index"] == 0


def test_the_logger_writes_lines_with_tags_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    given()["logger"].info("loaded %s rows", 3, source="100%")
    assert capsys.readouterr().out == "INFO loaded 3 rows source=100%\n"


def test_retry_counts_the_attempts() -> None:
    assert given(attempt=3)["retry"] == {"attempts": 3}

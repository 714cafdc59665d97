"""The flags of `runmesh-run`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runmesh.errors import Invalid
from runmesh.runtime.arguments import Arguments, parse
from runmesh.runtime.failed import Failed

ALL = [
    "--block-uuid=b", "--execution-partition", "3/x", "--runtime-vars", '{"a": 1}', "--executor-type", "local_python",
    "--block-run-id", "5", "--pipeline-run-id", "7", "--template-runtime-configuration", "{}", "--callback-url", "u",
    "--test", "--skip-sensors", "--run", "r1", "--key", "k1", "--revision", "abc", "--pipeline-document", '{"x": 1}',
    "--attempt", "2", "--trigger-name", "hourly", "--execution-date", "2024-02-29T13:00:00", "--variables-dir", "/v",
    "--sensor-interval", "0.5", "--retries", "3", "--event", '{"id": 5}', "--dynamic-index", "7:7", "--conditions-only",
    "--callbacks", "failure", "--error", "node lost", "--concurrency", "4",
]  # fmt: skip


def test_every_flag_of_the_table_is_read() -> None:
    assert parse(["/shop", "p", *ALL]) == Arguments(
        project_path="/shop",
        pipeline="p",
        execution_date=datetime(2024, 2, 29, 13, tzinfo=UTC),
        block_uuid="b",
        execution_partition="3/x",
        runtime_vars={"a": 1},
        pipeline_run_id="7",
        test=True,
        skip_sensors=True,
        run="r1",
        key="k1",
        attempt=2,
        trigger_name="hourly",
        pipeline_document={"x": 1},
        revision="abc",
        variables_dir="/v",
        sensor_interval=0.5,
        retries=3,
        event={"id": 5},
        dynamic_index="7:7",
        conditions_only=True,
        callbacks="failure",
        error="node lost",
        concurrency=4,
    )


def test_an_empty_value_and_one_that_looks_like_a_flag_are_values() -> None:
    assert parse(["/shop", "p", "--trigger-name", "--odd", "--variables-dir="]).trigger_name == "--odd"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/shop"], "PROJECT_PATH and PIPELINE"),
        (["/shop", "p", "q"], "PROJECT_PATH and PIPELINE"),
        (["/shop", "p", "--block-uid", "x"], "there is no flag --block-uid .*did you mean '--block-uuid'"),
        (["/shop", "p", "--block-uuid"], "--block-uuid needs a value"),
        (["/shop", "p", "--runtime-vars", "{"], "--runtime-vars: not JSON"),
        (["/shop", "p", "--runtime-vars", "[1]"], "--runtime-vars: not a JSON object"),
        (["/shop", "p", "--runtime-vars", "[" * 100_000], "--runtime-vars: nested too deeply"),
        (["/shop", "p", "--runtime-vars", "@/no/such/file"], "there is no /no/such/file"),
        (["/shop", "p", "--attempt", "two"], "--attempt"),
        (["/shop", "p", "--execution-date", "yesterday"], "--execution-date"),
        (["/shop", "p", "--sensor-interval", "nan"], "--sensor-interval"),
        (["/shop", "p", "--run", "a/b", "--key", "k"], "--run: 'a/b' is no name"),
        (["/shop", "p", "--run", "a"], "--run and --key"),
        (["/shop", "p", "--retries", "-1"], "--retries: '-1' is no whole number"),
        (["/shop", "p", "--retries", "9" * 10], "--retries"),
        (["/shop", "p", "--event", "5"], "--event: not a JSON object"),
        (["/shop", "p", "--callbacks", "won"], "--callbacks: 'won' is none of failure, cancelled"),
        (["/shop", "p", "--callbacks", "failure"], "--callbacks needs --block-uuid, or the --run"),
        (["/shop", "p", "--conditions-only"], "--conditions-only needs --block-uuid"),
    ],
)
def test_a_wrong_flag_is_one_clear_problem(argv: list[str], message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        parse(argv)
    assert len(caught.value.problems) == 1


def test_run_variables_may_be_a_file_or_a_url(tmp_path: Path) -> None:
    file = tmp_path / "vars.json"
    file.write_text('{"a": "ü"}')
    assert parse(["/shop", "p", "--runtime-vars", f"@{file}"]).runtime_vars == {"a": "ü"}
    assert parse(["/shop", "p", "--runtime-vars", f"@file://{file}"]).runtime_vars == {"a": "ü"}


def test_a_url_that_does_not_answer_is_no_mistake_of_the_arguments() -> None:
    with pytest.raises(Failed, match="can't be read"):
        parse(["/shop", "p", "--runtime-vars", "@http://127.0.0.1:9/vars"])


def test_the_date_is_now_unless_given() -> None:
    assert datetime.now(UTC) - parse(["/shop", "p"]).execution_date < timedelta(minutes=1)

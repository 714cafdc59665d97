"""A block's outputs are replaced as a whole, read in order, and never leave the variables directory."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runmesh.errors import Invalid, UnsafePath
from runmesh.projects import Block, Pipeline, Project, Templates, outcome_path, variables_of
from runmesh.runtime.failed import Failed
from runmesh.runtime.outcome import Outcome
from runmesh.runtime.outputs import MOST_OUTPUTS, Outputs, clean_name
from runmesh.runtime.places import place

LOAD = Block("load", "data_loader")


@pytest.fixture(params=["local", "remote"])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://bucket-{uuid4().hex}/prefix"


def files_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("stored", "given"),
    [([], []), ([{"a": 1}], {"a": 1}), ([1, "two"], [1, "two"]), ([[1, 2]], [1, 2]), ([None], None)],
)
def test_one_output_is_the_value_and_several_are_a_list(stored: list[Any], given: Any, variables: str) -> None:
    Outputs(variables, "p", "3/20240101T000000").write(LOAD, stored)
    assert Outputs(variables, "p", "3/20240101T000000").read(LOAD) == given


def test_outputs_come_in_numerical_order(variables: str) -> None:
    outputs = Outputs(variables, "p", None)
    outputs.write(LOAD, list(range(12)))
    assert outputs.read(LOAD) == list(range(12))


def test_a_very_long_list_is_one_output_and_reads_the_same(variables: str) -> None:
    outputs, rows = Outputs(variables, "p", None), [{"n": n} for n in range(MOST_OUTPUTS + 1)]
    assert len(outputs.write(LOAD, rows)) == 1
    assert outputs.read(LOAD) == rows


def test_a_second_run_leaves_nothing_of_the_first(variables: str) -> None:
    outputs = Outputs(variables, "p", None)
    outputs.write(LOAD, [1, (2, 3), 4])
    outputs.write(LOAD, ["only"])
    assert outputs.read(LOAD) == "only"
    outputs.write(LOAD, [])
    assert outputs.read(LOAD) == []


def test_partitions_and_pipelines_do_not_meet(variables: str) -> None:
    Outputs(variables, "p", "one").write(LOAD, [1])
    Outputs(variables, "p", "two").write(LOAD, [2])
    Outputs(variables, "q", "one").write(LOAD, [3])
    assert Outputs(variables, "p", "one").read(LOAD) == 1


def test_missing_outputs_name_the_block_and_the_place(variables: str) -> None:
    with pytest.raises(Invalid, match=r"upstream block load: it has no outputs at .*load"):
        Outputs(variables, "p", None).read(LOAD)


def test_an_exporter_of_mage_may_have_stored_nothing(variables: str) -> None:
    assert Outputs(variables, "p", None).read(Block("export", "data_exporter")) == []


def test_a_block_that_mage_runs_may_have_stored_nothing(variables: str) -> None:
    block = Block("load", "data_loader", executor_config={"runtime": "mage"})
    assert Outputs(variables, "p", None).read(block) == []


def test_the_layout_is_that_of_mage(tmp_path: Path) -> None:
    Outputs(str(tmp_path), "p", "3/20240101T000000").write(LOAD, [{"a": 1}, (1, 2)])
    base = "pipelines/p/.variables/3/20240101T000000/load"
    assert files_below(tmp_path) == [
        f"{base}/output_0/data.json",
        f"{base}/output_0/type.json",
        f"{base}/output_1/object.joblib",
        f"{base}/output_1/type.json",
    ]


def test_a_value_that_cannot_be_stored_keeps_the_former_outputs(variables: str) -> None:
    outputs = Outputs(variables, "p", None)
    outputs.write(LOAD, [1, 2])
    with pytest.raises(Failed, match=r"block 'load': output_1 \(function\) can't be stored"):
        outputs.write(LOAD, [3, lambda: None])
    assert outputs.read(LOAD) == [1, 2]


def test_what_a_killed_attempt_left_is_neither_read_nor_kept(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path), "p", None)
    outputs.write(LOAD, [1])
    left = tmp_path / "pipelines/p/.variables/.load.1234.staged/output_0"
    left.mkdir(parents=True)
    (left / "data.json").write_text("[1, 2")
    assert outputs.read(LOAD) == 1
    outputs.write(LOAD, [2])
    assert [path.name for path in (tmp_path / "pipelines/p/.variables").iterdir()] == ["load"]


def test_what_a_killed_child_left_is_removed_and_nothing_of_its_siblings(tmp_path: Path) -> None:
    outputs, directory = Outputs(str(tmp_path), "p", None), tmp_path / "pipelines/p/.variables"
    for name in (".load@1.12.staged", ".load@11.34.staged", ".load.56.staged"):
        (directory / name).mkdir(parents=True)
    outputs.write(LOAD, [1], 1)
    assert {path.name for path in directory.iterdir()} == {"load", ".load@11.34.staged", ".load.56.staged"}
    assert outputs.values(LOAD, 1) == [1]


def test_two_blocks_whose_names_begin_alike_keep_their_outputs(variables: str) -> None:
    outputs = Outputs(variables, "p", None)
    outputs.write(Block("load_more", "custom"), [1])
    outputs.write(LOAD, [2])
    assert outputs.read(Block("load_more", "custom")) == 1


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("load", "load"), ("Load Titanic", "load_titanic"), ("a/b", "a_b"), ("../../etc/passwd", "______etc_passwd"),
        ("größe", "größe"), ("2023 sales", "letter_2023_sales"), ('quo"te$\n', "quote"), ("a.b-c:0", "a_b_c_0"),
        ("..", "__"), ("nul\0", "nul_"),
    ],
)  # fmt: skip
def test_block_names_are_cleaned_as_mage_cleans_them(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("name", ["", "\n", "$$", "x" * 201])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        clean_name(name)


@pytest.mark.parametrize("partition", ["../x", "a/../../b", "/etc", "a\\b", "nul\0", "."])
def test_a_partition_that_leaves_the_variables_is_refused(partition: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafePath):
        Outputs(str(tmp_path), "p", partition)


def test_a_full_disk_is_a_failure_of_the_job(tmp_path: Path) -> None:
    blocked = tmp_path / "pipelines"
    blocked.write_text("a file where a directory must be")
    with pytest.raises(Failed, match="can't be stored"):
        Outputs(str(tmp_path), "p", None).write(LOAD, [1])


def project(tmp_path: Path, **document: str) -> Project:
    return Project("shop", tmp_path / "shop", document, Templates({"STAGE": "dev"}))


@pytest.mark.parametrize(
    ("document", "pipeline", "environment", "override", "expected"),
    [
        ({}, {}, {"MAGE_DATA_DIR": "/data"}, None, "/data/shop"),
        ({"variables_dir": "/vars"}, {}, {}, None, "/vars/shop"),
        ({"variables_dir": "/vars"}, {}, {"MAGE_DATA_DIR": "/data"}, None, "/data/shop"),
        ({"variables_dir": "/vars"}, {"variables_dir": "/own/{{ env_var('STAGE') }}"}, {}, None, "/own/dev/shop"),
        ({"variables_dir": ".vars"}, {}, {}, None, "{project}/.vars"),
        ({"remote_variables_dir": "s3://b/x/"}, {}, {"MAGE_DATA_DIR": "/data"}, None, "s3://b/x"),
        ({"remote_variables_dir": "s3://b/x"}, {"remote_variables_dir": "gs://c"}, {}, None, "gs://c"),
        ({"remote_variables_dir": "s3://bucket/path_prefix", "variables_dir": "/vars"}, {}, {}, None, "/vars/shop"),
        ({"remote_variables_dir": "s3://b/x"}, {}, {}, "/flag", "/flag/shop"),
    ],
)
def test_the_variables_directory_is_found_as_mage_finds_it(
    document: dict[str, str],
    pipeline: dict[str, Any],
    environment: dict[str, str],
    override: str | None,
    expected: str,
    tmp_path: Path,
) -> None:
    found = variables_of(project(tmp_path, **document), Pipeline("p", **pipeline), environment, override)
    assert found == expected.format(project=tmp_path / "shop")


def test_without_any_setting_variables_are_in_the_home_directory(tmp_path: Path) -> None:
    assert variables_of(project(tmp_path), Pipeline("p"), {}) == str(Path.home() / ".mage_data/shop")


def test_a_secret_in_the_variables_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="secret"):
        variables_of(project(tmp_path, variables_dir="/x/{{ mage_secret_var('y') }}"), Pipeline("p"), {})


def test_a_scheme_that_nothing_reads_is_invalid() -> None:
    with pytest.raises(Invalid, match="nonsense"):
        Outputs("nonsense://x", "p", None)


def test_a_place_knows_which_files_it_has(variables: str) -> None:
    note = f"{variables}/.runmesh/r/met/b"
    assert not place(variables).exists(note)
    place(variables).write(note, b"")
    assert place(variables).exists(note)


def test_the_outcome_is_one_whole_file(tmp_path: Path) -> None:
    outcome = Outcome(["careful"])
    outcome.passed = 2
    path = outcome_path(str(tmp_path), "run-1", "key1")
    outcome.write(path, 0)
    assert files_below(tmp_path) == [".runmesh/run-1/key1.json"]
    assert '"passed": 2' in Path(path).read_text()

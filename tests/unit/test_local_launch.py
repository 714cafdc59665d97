"""What a local job is started with."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runmesh.executor import Task
from runmesh.executors.local.launch import Config, command, directory, environment, runs_runtime
from tests.executors.tasks import task_of


def task(*words: str, variables: dict[str, str] | None = None, **config: Any) -> Task[Config]:
    return task_of(Config(**config), *words, attempt=2, environment=variables or {})


def test_the_runtime_is_run_by_the_workers_interpreter(tmp_path: Path) -> None:
    interpreter, script, *arguments = command(task("runmesh-run", str(tmp_path), "daily", "--block-uuid", "load"))
    assert interpreter == sys.executable
    assert script.endswith("/runmesh/runtime/__main__.py")
    assert arguments == [str(tmp_path), "daily", "--block-uuid", "load"]


def test_the_projects_own_interpreter_is_preferred(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert command(task("runmesh-run", str(tmp_path), "daily"))[0] == str(python)


def test_the_configured_interpreter_wins(tmp_path: Path) -> None:
    assert command(task("runmesh-run", str(tmp_path), "daily", python="python3.12"))[0] == "python3.12"


def test_mage_is_the_one_of_the_interpreter_and_works_in_the_project(tmp_path: Path) -> None:
    mage = tmp_path / "environment" / "bin" / "mage"
    mage.parent.mkdir(parents=True)
    mage.touch()
    run = task("mage", "run", str(tmp_path), "daily", "--block-uuid", "load", python=str(mage.with_name("python")))
    assert command(run) == [str(mage), "run", str(tmp_path), "daily", "--block-uuid", "load"]
    assert directory(run) == tmp_path


def test_mage_is_the_one_of_the_projects_own_environment(tmp_path: Path) -> None:
    for name in ("python", "mage"):
        (tmp_path / ".venv" / "bin" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv" / "bin" / name).touch()
    assert command(task("mage", "run", str(tmp_path), "daily"))[0] == str(tmp_path / ".venv" / "bin" / "mage")


def test_mage_is_looked_for_on_the_path_where_the_interpreter_has_none(tmp_path: Path) -> None:
    for python in ("python3.12", str(tmp_path / "bin" / "python")):
        assert command(task("mage", "run", str(tmp_path), "daily", python=python))[0] == "mage"


def test_any_other_command_is_run_as_it_is() -> None:
    assert command(task("dbt", "run", "--target", "daily")) == ["dbt", "run", "--target", "daily"]
    assert command(task("runmesh-run")) == ["runmesh-run"]


@pytest.mark.parametrize("argv", [("runmesh-run", "shop", "daily"), ("mage", "run", "shop", "daily")])
def test_a_command_block_is_run_as_it_is_whatever_it_runs(argv: tuple[str, ...]) -> None:
    own = task(*argv, variables={"RUNMESH_VARIABLES": "{}"})
    assert command(own) == list(argv)
    assert not runs_runtime(own)
    assert directory(own) is None


def test_the_working_directory_is_the_project() -> None:
    shop, variables = Path("/projects/shop"), {"RUNMESH_PROJECT_PATH": "/projects/shop"}
    assert directory(task("runmesh-run", "/projects/shop", "daily")) == shop
    assert directory(task("true", variables=variables)) == shop
    assert directory(task("true", variables=variables, project_path="/elsewhere")) == Path("/elsewhere")
    assert directory(task("true")) is None


def test_a_relative_project_stays_the_same_one_inside_its_own_directory() -> None:
    relative = task("runmesh-run", "projects/shop", "daily")
    assert directory(relative) == Path.cwd() / "projects/shop"
    assert command(relative)[2] == str(directory(relative))


WORKER = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "MAGE_DATA_DIR": "/data",
    "AWS_PROFILE": "batch",
    "TEAM": "blue",
    "RUNMESH_NATS_TOKEN": "token",
}


def test_only_what_describes_the_machine_is_inherited() -> None:
    given = environment(task("true"), WORKER)
    assert {name: given.get(name) for name in WORKER} == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "MAGE_DATA_DIR": "/data",
        "AWS_PROFILE": None,
        "TEAM": None,
        "RUNMESH_NATS_TOKEN": None,
    }


def test_more_is_inherited_by_name_or_prefix() -> None:
    given = environment(task("true", inherit_environment=("TEAM", "AWS_*")), WORKER)
    assert given["TEAM"] == "blue"
    assert given["AWS_PROFILE"] == "batch"


def test_the_meshs_own_settings_are_never_inherited() -> None:
    assert "RUNMESH_NATS_TOKEN" not in environment(task("true", inherit_environment=("*", "RUNMESH_*")), WORKER)


def test_the_tasks_variable_wins_over_the_configured_over_the_inherited() -> None:
    configured = {"PATH": "/configured", "TEAM": "configured", "CITY": "configured"}
    given = environment(task("true", variables={"CITY": "task"}, environment=configured), WORKER)
    assert (given["PATH"], given["TEAM"], given["CITY"]) == ("/configured", "configured", "task")


def test_a_job_knows_which_task_it_is() -> None:
    given = environment(task("true", variables={"RUNMESH_KEY": "another"}), {})
    assert given == {"RUNMESH_RUN": "run-1", "RUNMESH_BLOCK": "load", "RUNMESH_KEY": "key", "RUNMESH_ATTEMPT": "2"}


@pytest.mark.parametrize("wrong", [{"kill_grace": -1}, {"kill_grace": float("inf")}, {"pyhton": "python3"}])
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config(**wrong)

"""RunTask as Mage calls it: every argument that both set is the same, or Fargate has no such task."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh.executor import Task
from runmesh.executors.amazon.ecs.config import Config
from runmesh.executors.amazon.ecs.inherit import Base
from runmesh.executors.amazon.ecs.request import Target, run_task
from tests.unit.shop import Shop

_ALL: Final = json.loads((Path(__file__).parents[1] / "fixtures" / "remote_payloads.json").read_text())
CASES: Final = [case for case in _ALL if case["name"].startswith("ecs")]
IMPOSSIBLE: Final = {(512, 512), (512, 16384), (1024, 1024), (2048, 512), (2048, 1024)}


def sizes(case: dict[str, Any]) -> tuple[int, int]:
    expected = case["expected"]["run_task"]["overrides"]
    return int(expected["cpu"]), int(expected["memory"])


def test_there_are_cases() -> None:
    assert len(CASES) == 28


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_task_agrees_with_mages_in_every_argument_that_both_set(tmp_path: Path, case: dict[str, Any]) -> None:
    found = Shop(tmp_path).load(
        case["block"], project=case["project"], environment=case["environment"], **case["pipeline"]
    )
    theirs = case["expected"]["run_task"]
    if theirs["launchType"] == "FARGATE" and sizes(case) in IMPOSSIBLE:
        assert [problem.path.rpartition(".")[2] for problem in found.errors] == ["memory"]
        return
    assert found.errors == ()
    task = Task("key", "run", "load", 1, 0, "shop", "orders", ("true",), {}, Config.model_validate(found.config))
    theirs_container = theirs["overrides"]["containerOverrides"][0]
    target = Target(theirs["taskDefinition"], found.config["container_name"])
    ours = run_task(task, Base(), target, mesh="mage", pool="default")
    ours_container = ours["overrides"]["containerOverrides"][0]
    assert theirs_container.items() <= ours_container.items()
    assert {name: ours["overrides"][name] for name in ("cpu", "memory")} == {
        name: theirs["overrides"][name] for name in ("cpu", "memory")
    }
    assert all(tag in ours["tags"] for tag in theirs["tags"])
    compared = set(theirs) - {"overrides", "tags"}
    if theirs["launchType"] == "EC2":
        compared.remove("platformVersion")  # RunTask refuses it there
    assert {name: ours[name] for name in compared} == {name: theirs[name] for name in compared}

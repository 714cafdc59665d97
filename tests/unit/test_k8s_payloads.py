"""Jobs as Mage makes them: from the project's or the block's level, every field that both set is the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from runmesh.executor import Task
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.inherit import Base
from runmesh.executors.kubernetes.manifest import manifest
from tests.unit.shop import Shop

CASES: Final = [
    case
    for case in json.loads((Path(__file__).parents[1] / "fixtures" / "remote_payloads.json").read_text())
    if case["name"].startswith("k8s")
]


def test_there_are_cases() -> None:
    assert len(CASES) == 50


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_job_agrees_with_mages_in_every_field_that_both_set(tmp_path: Path, case: dict[str, Any]) -> None:
    found = Shop(tmp_path).load(
        case["block"],
        project=case["project"],
        environment=case["environment"],
        request={"trigger_name": case["trigger_name"]},
        **case["pipeline"],
    )
    assert found.errors == ()
    task = Task("7", "run", "load", 1, 0, "shop", "orders", ("true",), {}, Config.model_validate(found.config))
    job = manifest(task, Base(image=case["base_image"]), mesh="mage", pool="default")
    assert job["metadata"]["namespace"] == case["expected"]["namespace"]
    assert job["metadata"]["name"] == case["expected"]["job"]["metadata"]["name"]
    assert list(differences(case["expected"]["job"], job)) == []


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Yield where two documents differ in what both set; our own variables come behind theirs."""
    match theirs, ours:
        case dict(), dict():
            for key in theirs.keys() & ours.keys():
                yield from differences(theirs[key], ours[key], f"{path}.{key}")
        case list(), list():
            if len(ours) < len(theirs) or (len(ours) > len(theirs) and not path.endswith(".env")):
                yield f"{path}: {len(ours)} items, not {len(theirs)}"
            for index, (one, two) in enumerate(zip(theirs, ours, strict=False)):
                yield from differences(one, two, f"{path}.{index}")
        case _ if theirs != ours:
            yield f"{path}: {ours!r}, not {theirs!r}"

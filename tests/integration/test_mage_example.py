"""The example pipeline that `mage init` writes runs natively."""

import csv
import shutil
from pathlib import Path

import pytest

from runmesh.events import RunState
from tests.local_mesh import local_mesh

EXAMPLE = Path(__file__).parents[1] / "fixtures" / "mage_example"


async def test_the_pipeline_of_mage_init_runs_natively_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "projects" / "mage_example"
    shutil.copytree(EXAMPLE, project)
    monkeypatch.setenv("MAGE_DATA_DIR", str(tmp_path / "variables"))

    async with local_mesh(project.parent, tmp_path / "state") as mesh:
        run = await mesh.submit("example_pipeline", project="mage_example")
        ended = await mesh.wait(run)
        blocks = (await mesh.show(run)).blocks

    assert ended.state is RunState.COMPLETED, blocks
    assert {name: block.attempt for name, block in blocks.items()} == {
        "load_titanic": 1,
        "fill_in_missing_values": 1,
        "export_titanic_clean": 1,
    }
    with (project / "titanic_clean.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["", "Age", "Fare", "Parch", "Pclass", "SibSp", "Survived"]
    assert [row["Age"] for row in rows] == ["22.0", "38.0", "35.0", "35.0", "4.0"], "the missing age is the median"
    assert rows[3]["Fare"] == "26.0"

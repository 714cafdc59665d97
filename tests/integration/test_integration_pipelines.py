"""An integration pipeline in a real mesh, with a program called `mage` that notes what it was asked for."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runmesh.events import RunState
from tests.local_mesh import local_mesh

MAGE = f"""#!{sys.executable}
import os, sys
words = dict(zip(sys.argv[4::2], sys.argv[5::2]))
with open("asked", "a") as file:
    file.write(words["--block-uuid"] + " " + words["--template-runtime-configuration"] + chr(10))
sys.exit(words["--block-uuid"].startswith("change:pears") and os.path.exists("sour"))
"""


def block(uuid: str, kind: str, *upstream: str, language: str = "yaml") -> dict[str, Any]:
    return {"uuid": uuid, "type": kind, "language": language, "upstream_blocks": list(upstream)}


@pytest.fixture
def fruit(tmp_path: Path) -> Path:
    path = tmp_path / "projects" / "fruit"
    for name in ("pipelines/sync", "bin"):
        (path / name).mkdir(parents=True)
    (path / "bin/mage").write_text(MAGE)
    (path / "bin/mage").chmod(0o755)
    settings = {
        "runtime": "mage",
        "variables_dir": str(tmp_path / "variables"),
        "local_python_config": {"python": str(path / "bin/python")},
    }
    (path / "metadata.yaml").write_text(yaml.safe_dump(settings))
    blocks = [
        block("take", "data_loader"),
        block("change", "transformer", "take", language="python"),
        block("put", "data_exporter", "change"),
    ]
    document = {"type": "integration", "blocks": blocks}
    (path / "pipelines/sync/metadata.yaml").write_text(yaml.safe_dump(document))
    catalog = {"streams": [{"tap_stream_id": "apples"}, {"tap_stream_id": "pears", "destination_table": "fruit"}]}
    (path / "pipelines/sync/data_integration_catalog.json").write_text(json.dumps({"catalog": catalog}))
    return path


def asked(fruit: Path) -> list[str]:
    """Return which blocks were asked for, and forget it."""
    lines = (fruit / "asked").read_text().splitlines()
    (fruit / "asked").unlink()
    return [line.split()[0] for line in lines]


async def test_streams_go_through_all_blocks_one_by_one_and_what_failed_is_retried_alone(fruit: Path) -> None:
    (fruit / "sour").touch()
    async with local_mesh(fruit.parent, fruit.parents[1] / "state", slots=4) as mesh:
        run = await mesh.submit("sync", project="fruit")
        assert (await mesh.wait(run)).state is RunState.FAILED
        view = await mesh.show(run)
        assert {name: str(each.state) for name, each in view.blocks.items()} == {
            **dict.fromkeys(["take:apples:0", "change:apples:0", "put:apples:0", "take:pears:0"], "completed"),
            "change:pears:0": "failed",
            "put:pears:0": "upstream_failed",
        }
        assert all(each.children is None for each in view.blocks.values()), "streams are no children"
        last = (fruit / "asked").read_text().splitlines()[-1].split()[1]
        assert json.loads(last) == {
            "selected_streams": ["pears"],
            "destination_table": "fruit",
            "index": 0,
            "is_last_block_run": True,
        }
        assert asked(fruit) == [
            *("take:apples:0", "change:apples:0", "put:apples:0"),
            *("take:pears:0", "change:pears:0"),
        ]
        (fruit / "sour").unlink()
        assert (await mesh.wait(await mesh.retry(run))).state is RunState.COMPLETED
        assert asked(fruit) == ["change:pears:0", "put:pears:0"]

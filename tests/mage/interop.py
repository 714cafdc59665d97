"""Native and Mage-run blocks alternate in one run, with the real mage-ai: `make test-mage`.

Not collected by `pytest tests`. `Mage-run` is `mage run` of the environment that `make test-mage` sets up; each block
writes down what it was given, and those of the other runtime return values of every kind.
"""

import json
import os
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from runmesh.events import RunState
from tests.local_mesh import local_mesh
from tests.s3 import s3_on_loopback

MAGE_PYTHON = Path(__file__).parents[2] / ".mage-venv" / "bin" / "python"
SEEN = '''
import json, os, sys


def describe(value):
    kind = type(value).__name__
    if type(value).__module__.startswith("polars"):
        return ["polars", {"columns": value.columns, "data": [list(row) for row in value.rows()]}]
    if kind == "DataFrame":
        rows = json.loads(value.to_json(orient="split", date_format="iso"))
        return ["pandas", {"columns": rows["columns"], "data": rows["data"]}]
    if kind == "list":
        return [kind, [describe(item) for item in value]]
    if kind in ("dict", "tuple", "int", "float", "str", "NoneType", "bool"):
        return [kind, value]
    return [kind, str(value)]


def note(kwargs, values):
    """Write down what a block was given, and by which runtime it is run."""
    runtime = "mage" if "mage_ai.data_preparation.models.pipeline" in sys.modules else "native"
    seen = {"runtime": runtime, "given": [describe(value) for value in values]}
    with open(os.path.join(kwargs["seen"], kwargs["block_uuid"] + ".json"), "w") as file:
        json.dump(seen, file, default=str)
'''
FRAME = """pd.DataFrame({"n": [1, 2], "f": [1.5, None], "s": ["ä", None], "t": pd.to_datetime(["2024-02-29", None])})"""
VALUES = {
    "frame": FRAME,
    "cells": """pd.DataFrame({"d": [{"a": 1}, {"a": 2}], "l": [[1], [2, 3]]})""",
    "polar": """pl.DataFrame({"n": [1, 2]})""",
    "mapping": """{"a": 1, "b": [1, {"c": None}], "f": 1.5}""",
    "stamped": """{"when": datetime.date(2024, 2, 29), "rows": [1, 2]}""",
    "rows": """[[{"id": 1}, {"id": 2}, "three"]]""",
    "frames": """[[pd.DataFrame({"n": [1]}), pd.DataFrame({"n": [2]})]]""",
    "several": f"""({FRAME}, {{"k": "v"}}, [1, 2], "text", 5)""",
    "number": "42",
    "text": "'grüezi'",
    "nothing": "None",
}
"""By the block that returns it."""
PICKLED = frozenset({"stamped", "frames"})
"""Natively, or by Mage, in part. Mage writes and reads such files on a disk only, whatever the variables' URL."""
ALL_ROWS: Any = [[1, 1.5, "ä", "2024-02-29T00:00:00.000"], [2, None, None, None]]


def frame(columns: list[str], data: list[Any], library: str = "pandas") -> list[Any]:
    return [library, {"columns": columns, "data": data}]


EXPECTED = {
    "frame": frame(["n", "f", "s", "t"], ALL_ROWS),
    "cells": frame(["d", "l"], [[{"a": 1}, [1]], [{"a": 2}, [2, 3]]]),
    "polar": frame(["n"], [[1], [2]], "polars"),
    "mapping": ["dict", {"a": 1, "b": [1, {"c": None}], "f": 1.5}],
    "stamped": ["dict", {"when": "2024-02-29", "rows": [1, 2]}],
    "rows": ["list", [["dict", {"id": 1}], ["dict", {"id": 2}], ["str", "three"]]],
    "frames": ["list", [frame(["n"], [[1]]), frame(["n"], [[2]])]],
    "several": [
        "list",
        [
            frame(["n", "f", "s", "t"], ALL_ROWS),
            ["dict", {"k": "v"}],
            ["list", [["int", 1], ["int", 2]]],
            ["str", "text"],
            ["int", 5],
        ],
    ],
    "number": ["int", 42],
    "text": ["str", "grüezi"],
    "nothing": ["list", []],
}
"""What the blocks below are given, whichever runtime runs them."""


class Project:
    """A pipeline of four layers: native ones return all values, Mage's read them and return them again, and so on."""

    def __init__(self, directory: Path, **metadata: Any) -> None:
        self.path, self.seen = directory / "interop", directory / "seen"
        self.seen.mkdir()
        self.values = VALUES
        self.blocks: list[dict[str, Any]] = []
        document = {
            "project_type": "standalone",
            "help_improve_mage": False,
            "local_python_config": {"inherit_environment": ["AWS_*"]},
        }
        self._write("metadata.yaml", yaml.safe_dump(document | metadata))
        self._write("utils/__init__.py", "")
        self._write("utils/seen.py", SEEN)

    def loaders(self, runtime: str) -> list[str]:
        return [self.add(f"{runtime}_{name}", [], f"return {value}", runtime) for name, value in self.values.items()]

    def add(self, uuid: str, upstream: list[str], body: str, runtime: str, **configuration: bool) -> str:
        source = f"""
            import datetime
            import pandas as pd
            import polars as pl
            from interop.utils.seen import note

            @custom
            def block(*values, **kwargs):
                note(kwargs, values)
                {body}
        """
        self._write(f"custom/{uuid}.py", dedent(source))
        block: dict[str, Any] = {"uuid": uuid, "name": uuid, "type": "custom", "language": "python"}
        block["upstream_blocks"] = upstream
        mage = {"runtime": "mage", "python": str(MAGE_PYTHON)}
        block["configuration"] = configuration
        self.blocks.append(block | ({"executor_config": mage} if runtime == "mage" else {}))
        return uuid

    def write_pipeline(self) -> None:
        for block in self.blocks:
            below = [other["uuid"] for other in self.blocks if block["uuid"] in other["upstream_blocks"]]
            block["downstream_blocks"] = below
        document = {"uuid": "p", "name": "p", "type": "python", "blocks": self.blocks}
        self._write("pipelines/p/metadata.yaml", yaml.safe_dump(document))

    def was_given(self, block: str) -> Any:
        return json.loads((self.seen / f"{block}.json").read_text())

    def _write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def run_through_the_mesh(project: Project, tmp_path: Path) -> None:
    """Native values, read by Mage, whose values native code reads, whose answer Mage reads; and dynamic children's."""
    natives, mages = project.loaders("native"), project.loaders("mage")
    project.add("mage_reads", natives, "return {'read': len(values)}, 'by mage'", "mage")
    project.add("native_reads", [*mages, "mage_reads"], "return {'read': len(values)}, 'natively'", "native")
    project.add("mage_ends", ["native_reads"], "return 'done'", "mage")
    project.add("native_ends", ["mage_ends"], "return None", "native")
    project.add("fan", [], "return [['a', 'b', 'c']]", "native", dynamic=True)
    project.add("each", ["fan"], "return [[values[0], 1]]", "native", reduce_output=True)
    project.add("mage_below_children", ["each"], "return 'done'", "mage")
    project.write_pipeline()
    async with local_mesh(tmp_path, tmp_path / "state") as mesh:
        run = await mesh.submit("p", project="interop", variables={"seen": str(project.seen)})
        ended = await mesh.wait(run)
        failed = {name: block for name, block in (await mesh.show(run)).blocks.items() if block.state != "completed"}
        assert not failed, "\n".join(
            [*map(str, failed), *(line for block in failed.values() for line in block.log_tail)]
        )
        assert ended.state is RunState.COMPLETED


def check(project: Project) -> None:
    expected = {name: EXPECTED[name] for name in project.values}
    for runtime, count, text in (("mage", len(expected), "by mage"), ("native", len(expected) + 1, "natively")):
        found = project.was_given(f"{runtime}_reads")
        assert found["runtime"] == runtime
        assert dict(zip(expected, found["given"], strict=False)) == expected, f"read by {runtime}"
        below = project.was_given({"mage": "native_reads", "native": "mage_ends"}[runtime])
        assert below["given"][-1] == ["list", [["dict", {"read": count}], ["str", text]]]
    joined = [["str", "a"], ["int", 1], ["str", "b"], ["int", 1], ["str", "c"], ["int", 1]]
    assert project.was_given("mage_below_children") == {"runtime": "mage", "given": [["list", joined]]}
    assert project.was_given("native_ends") == {"runtime": "native", "given": [["str", "done"]]}


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mage writes below HOME, and obeys every MAGE_* that is set."""
    for name in [name for name in os.environ if name.startswith(("MAGE_", "RUNMESH_", "AWS_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.timeout(600)
async def test_in_a_local_directory(tmp_path: Path) -> None:
    project = Project(tmp_path, variables_dir=str(tmp_path / "variables"))
    await run_through_the_mesh(project, tmp_path)
    check(project)


@pytest.mark.timeout(600)
async def test_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_on_loopback(monkeypatch) as bucket:
        local = str(tmp_path / "variables")
        project = Project(tmp_path, variables_dir=local, remote_variables_dir=f"{bucket}/interop")
        project.values = {name: value for name, value in VALUES.items() if name not in PICKLED}
        await run_through_the_mesh(project, tmp_path)
        check(project)

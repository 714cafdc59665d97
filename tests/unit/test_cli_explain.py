"""`runmesh explain` on a project of one block."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from pydantic_core import from_json


async def test_explain_says_the_level_of_every_value_and_exits_1_for_errors(tmp_path: Path) -> None:
    (tmp_path / "pipelines/orders").mkdir(parents=True)
    (tmp_path / "data_loaders").mkdir()
    (tmp_path / "data_loaders/load.py").write_text("@data_loader\ndef load(): ...\n")
    (tmp_path / "metadata.yaml").write_text("local_python_config:\n  kill_grace: 3\n")
    block = "{uuid: load, name: load, type: data_loader, language: python, upstream_blocks: []"
    document = f"name: orders\nuuid: orders\ntype: python\nblocks:\n- {block}, executor_type: local_python_force}}\n"
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(document)
    assert "load  local_python  by block" in await explained(0, tmp_path, "orders")
    assert "kill_grace" in await explained(0, tmp_path, "orders")
    value = from_json(await explained(0, tmp_path, "orders", "--json"))
    assert value["blocks"]["load"]["provenance"]["kill_grace"].startswith("project")
    assert "did you mean 'orders'?" in await explained(1, tmp_path, "oders")
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(document.replace("local_python_force", "k8"))
    assert "did you mean 'k8s'?" in await explained(1, tmp_path, "orders")


async def test_explain_shows_what_policy_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines/orders").mkdir(parents=True)
    (tmp_path / "metadata.yaml").write_text("local_python_config:\n  kill_grace: 30\n")
    block = "{uuid: load, type: custom, content: x}"
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(f"uuid: orders\nblocks: [{block}]\n")
    (tmp_path / "policy.yaml").write_text("executors: {local_python: {enforce: true, config: {kill_grace: 5}}}")
    monkeypatch.setenv("RUNMESH_POLICY", str(tmp_path / "policy.yaml"))
    text = await explained(0, tmp_path, "orders", "--runtime", "mage")
    assert re.search(r"kill_grace +5 +policy", text)
    assert re.search(r"runtime +mage +request", text)
    assert "not used: project {'kill_grace': 30}: the policy sets kill_grace to 5 (policy.yaml)" in " ".join(
        text.split()
    )
    (tmp_path / "policy.yaml").write_text("executor: {}")
    assert "did you mean 'executors'?" in " ".join((await explained(1, tmp_path, "orders")).split())


async def explained(code: int, project: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runmesh", "explain", str(project), *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == code, out.decode()
    return out.decode()

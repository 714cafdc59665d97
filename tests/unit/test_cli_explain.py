"""`runmesh explain` on a project of one block."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic_core import from_json

from runmesh.cli import call

Explained = Callable[..., str]


@pytest.fixture
def explained(capsys: pytest.CaptureFixture[str]) -> Explained:
    """Run `runmesh explain`, and return what it prints; it must end with the code given first."""

    def explained(code: int, project: Path, *arguments: str) -> str:
        assert call(["explain", str(project), *arguments]) == code
        return capsys.readouterr().out

    return explained


def test_explain_says_the_level_of_every_value_and_exits_1_for_errors(tmp_path: Path, explained: Explained) -> None:
    (tmp_path / "pipelines/orders").mkdir(parents=True)
    (tmp_path / "data_loaders").mkdir()
    (tmp_path / "data_loaders/load.py").write_text("@data_loader\ndef load(): ...\n")
    (tmp_path / "metadata.yaml").write_text("local_python_config:\n  kill_grace: 3\n")
    block = "{uuid: load, name: load, type: data_loader, language: python, upstream_blocks: []"
    document = f"name: orders\nuuid: orders\ntype: python\nblocks:\n- {block}, executor_type: local_python_force}}\n"
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(document)
    assert "load  local_python  by block" in explained(0, tmp_path, "orders")
    assert "kill_grace" in explained(0, tmp_path, "orders")
    value = from_json(explained(0, tmp_path, "orders", "--json"))
    assert value["blocks"]["load"]["provenance"]["kill_grace"].startswith("project")
    assert "did you mean 'orders'?" in explained(1, tmp_path, "oders")
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(document.replace("local_python_force", "k8"))
    assert "did you mean 'k8s'?" in explained(1, tmp_path, "orders")


def test_explain_shows_what_policy_changed(
    tmp_path: Path, explained: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipelines/orders").mkdir(parents=True)
    (tmp_path / "metadata.yaml").write_text("local_python_config:\n  kill_grace: 30\n")
    block = "{uuid: load, type: custom, content: x}"
    (tmp_path / "pipelines/orders/metadata.yaml").write_text(f"uuid: orders\nblocks: [{block}]\n")
    (tmp_path / "policy.yaml").write_text("executors: {local_python: {enforce: true, config: {kill_grace: 5}}}")
    monkeypatch.setenv("RUNMESH_POLICY", str(tmp_path / "policy.yaml"))
    text = explained(0, tmp_path, "orders", "--runtime", "mage")
    assert re.search(r"kill_grace +5 +policy", text)
    assert re.search(r"runtime +mage +request", text)
    assert "not used: project {'kill_grace': 30}: the policy sets kill_grace to 5 (policy.yaml)" in " ".join(
        text.split()
    )
    (tmp_path / "policy.yaml").write_text("executor: {}")
    assert "did you mean 'executors'?" in " ".join(explained(1, tmp_path, "orders").split())


FEATURES = """
uuid: features
blocks:
- {uuid: source, type: custom, configuration: {dynamic: true}}
- {uuid: each, type: custom, upstream_blocks: [source], configuration: {dynamic: true}}
- {uuid: pairs, type: custom, upstream_blocks: [each, source], configuration: {reduce_output: true}}
- {uuid: total, type: custom, upstream_blocks: [pairs, plain]}
- {uuid: plain, type: custom}
callbacks: [{uuid: tell, type: callback, upstream_blocks: [each]}]
conditionals: [{uuid: is_monday, type: conditional, upstream_blocks: [total]}]
"""
OTHERS = """
uuid: others
blocks:
- {uuid: old, type: custom, executor_config: {runtime: mage}}
conditionals: [{uuid: is_monday, type: conditional, upstream_blocks: [old]}]
"""
COMMANDS = """
uuid: commands
blocks:
- {uuid: greet, type: command, command: [echo, "hello you"]}
"""


def test_explain_shows_what_is_particular_about_each_block(tmp_path: Path, explained: Explained) -> None:
    (tmp_path / "metadata.yaml").write_text("{}")
    for folder in ("custom", "callbacks", "conditionals"):
        (tmp_path / folder).mkdir()
    for uuid in ("source", "each", "pairs", "total", "plain", "old"):
        (tmp_path / "custom" / f"{uuid}.py").write_text("@custom\ndef run(*args, **kwargs): ...\n")
    (tmp_path / "callbacks/tell.py").write_text("@callback('failure')\ndef tell(*args, **kwargs): ...\n")
    (tmp_path / "conditionals/is_monday.py").write_text("@condition\ndef is_monday(*args, **kwargs): ...\n")
    for name, document in (("features", FEATURES), ("others", OTHERS), ("commands", COMMANDS)):
        (tmp_path / "pipelines" / name).mkdir(parents=True)
        (tmp_path / "pipelines" / name / "metadata.yaml").write_text(document)
    said = about(explained(0, tmp_path, "features"))
    assert "dynamic: what is below it runs once per item that it returns" in said["source"]
    assert "runs many times, with one item of source" in said["each"]
    assert "has callbacks for failure: where its own job can't run them, a task does" in said["each"]
    assert "callbacks of each: a task of their own, on local_python, for 600 s at most" in said["each"]
    assert "runs for every combination, with one item of one child of each, one item of source" in said["pairs"]
    assert "runs once, with a list of all children of pairs, all of plain" in said["total"]
    assert "has conditions: its own job evaluates them first" in said["total"]
    old = about(explained(0, tmp_path, "others"))["old"]
    assert re.search(r"runtime +mage +block", old)
    assert "conditions of old: a task of their own, on local_python" in old
    assert "command: echo 'hello you'" in about(explained(0, tmp_path, "commands"))["greet"]


def about(text: str) -> dict[str, str]:
    """Take what explain printed apart, by block."""
    parts = [part.strip() for part in text.split("\n\n")]
    return {part.split(maxsplit=1)[0]: part for part in parts if part}

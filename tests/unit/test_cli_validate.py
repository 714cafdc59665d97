"""`runmesh validate`: what users see, and which code it ends with."""

import sys
from pathlib import Path

import pytest
from pydantic_core import from_json

from runmesh.cli import call

ROOT = Path(__file__).parents[2]
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"

MISTAKES = {
    "metadata.yaml": """\
project_type: standalone
variables_dir: {{ env_var('DATA', '.data') }}
retry_config:
  retries: many
""",
    "pipelines/orders/metadata.yaml": """\
uuid: orders
type: python
concurrency_config:
  block_run_limit: 0
retry_confg: {}
blocks:
- uuid: load
  type: data_loader
  executor_type: k8
  retry_config:
    delay: soon
- uuid: clean
  type: transformer
  executor_config:
    kill_grace: 5
    kil_grace: 5
  upstream_blocks: [laod]
- type: data_exporter
  uuid: save
- uuid: again
  type: custom
  content: |
    @custom
    def again(:
- uuid: secret
  type: custom
  configuration:
    file_path: ../secret.py
""",
    "pipelines/circle/metadata.yaml": """\
blocks:
- {uuid: a, type: custom, content: "@custom\\ndef a(): ...", upstream_blocks: [b]}
- {uuid: b, type: custom, content: "@custom\\ndef b(): ...", upstream_blocks: [a]}
""",
    "pipelines/twice/metadata.yaml": "uuid: twice\nblocks: []\nuuid: again\n",
    "pipelines/stock/metadata.yaml": """\
blocks:
- uuid: load
  type: data_loder
- type: custom
  timeout: long
""",
    "pipelines/drafts/notes.yaml": "uuid: [",
    "data_loaders/load.py": "@data_loader\ndef load():\n    return 1 +\n",
    "transformers/clean.py": "x = 1\n\n\n@data_loader\ndef clean(orders):\n    return orders\n",
    "data_exporters/saved.py": "",
}

GOLDEN = f"""\
data_loaders/load.py:3: is no {PYTHON}: invalid syntax
metadata.yaml:4: retry_config: retries: must be a number, not text
pipelines/circle/metadata.yaml:1: blocks: these blocks wait for each other: a → b → a
pipelines/orders/metadata.yaml:4: concurrency_config: block_run_limit: must be a whole number from 1 to 1,000,000
pipelines/orders/metadata.yaml:5: warning: retry_confg: is not known, and ignored, did you mean 'retry_config'?
pipelines/orders/metadata.yaml:9: block load: executor_type: unknown executor type 'k8' (block level, \
pipelines/orders/metadata.yaml), did you mean 'k8s'?
pipelines/orders/metadata.yaml:11: block load: retry_config: delay: must be a number, not text
pipelines/orders/metadata.yaml:16: block clean: executor_config.kil_grace: unknown key 'kil_grace' (block level, \
pipelines/orders/metadata.yaml), did you mean 'kill_grace'?
pipelines/orders/metadata.yaml:17: blocks.clean.upstream_blocks: there is no block 'laod', did you mean 'load'?
pipelines/orders/metadata.yaml:19: block save: its file data_exporters/save.py is missing, \
did you mean 'data_exporters/saved.py'?
pipelines/orders/metadata.yaml:22: block again: line 2 of its content is no {PYTHON}: invalid syntax
pipelines/orders/metadata.yaml:27: block secret: configuration: '../secret.py' is no path below a directory
pipelines/stock/metadata.yaml:3: blocks[0].type: 'data_loder' is not known, did you mean 'data_loader'?
pipelines/stock/metadata.yaml:4: blocks[1].uuid: is missing
pipelines/stock/metadata.yaml:5: blocks[1].timeout: must be a number, not text
pipelines/twice/metadata.yaml:3: the key 'uuid' is there twice
transformers/clean.py:4: decorates no function with @transformer, it has @data_loader
16 errors, 1 warning in 4 of 4 pipelines
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mesh runs here that would say where projects are."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return written(tmp_path / "projects/shop", MISTAKES)


def written(project: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project


def test_every_mistake_of_every_pipeline_is_a_line(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    assert call(["validate"]) == 1
    assert capsys.readouterr() == (GOLDEN, "")


def test_files_are_named_as_they_can_be_opened_from_here(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["validate", str(shop)]) == 1
    by_path = capsys.readouterr().out
    assert by_path.startswith("projects/shop/data_loaders/load.py:3: ")
    assert call(["validate", "projects/shop"]) == 1
    assert capsys.readouterr().out == by_path


def test_a_project_is_found_by_its_name_too(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNMESH_PROJECTS_DIR", str(shop.parent))
    assert call(["validate", "shop"]) == 1
    assert "projects/shop/metadata.yaml:4: " in capsys.readouterr().out
    assert call(["validate", "shpo"]) == 2
    assert "there is no project 'shpo' (did you mean 'shop'?)" in capsys.readouterr().err
    assert call(["explain", "shop", "circle"]) == 1
    assert "these blocks wait for each other" in capsys.readouterr().out


@pytest.mark.parametrize("given", [".", "nowhere/at/all", "projects"])
def test_what_is_no_project_is_wrong_usage(shop: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.is_dir()
    assert call(["validate", given]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"runmesh: PROJECT: {given} is no project (a project is a folder that holds metadata.yaml)\n"
    assert not captured.out


def test_json_is_one_object(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["validate", str(shop), "--json"]) == 1
    value = from_json(capsys.readouterr().out)
    assert {key: value[key] for key in ("project", "pipelines", "errors", "warnings")} == {
        "project": "shop",
        "pipelines": 4,
        "errors": 16,
        "warnings": 1,
    }
    assert {
        "severity": "error",
        "file": "projects/shop/pipelines/orders/metadata.yaml",
        "line": 17,
        "path": "blocks.clean.upstream_blocks",
        "message": "there is no block 'laod'",
        "hint": "did you mean 'load'?",
    } in value["findings"]


def test_the_demo_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["validate", str(ROOT / "deploy/demo")]) == 0
    assert capsys.readouterr().out == "no problems in 1 pipeline\n"


def test_warnings_alone_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = written(tmp_path / "shop", {"metadata.yaml": "retry_confg: {}\n"})
    assert call(["validate", str(project)]) == 0
    warning = "shop/metadata.yaml:1: warning: retry_confg: is not known, and ignored, did you mean 'retry_config'?"
    assert capsys.readouterr().out == f"{warning}\n1 warning in 0 of 0 pipelines\n"

"""What is wrong with a block's source before it runs."""

import sys
from pathlib import Path

import pytest

from runmesh.errors import UnsafePath
from runmesh.projects import Block, Pipeline, Project, Templates
from runmesh.projects.sources import Fault, faults_of

PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
IMPORTED = """\
if 'data_loader' not in globals():
    from mage_ai.data_preparation.decorators import data_loader
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for folder in ("data_loaders", "transformers", "callbacks", "conditionals", "custom"):
        (tmp_path / folder).mkdir()
    return Project("shop", tmp_path.resolve(), {}, Templates({}))


def faults(project: Project, block: Block, source: str | bytes | None = None, kind: str = "python") -> list[Fault]:
    if source is not None:
        path = project.block_path(block)
        assert path
        path.write_bytes(source.encode() if isinstance(source, str) else source)
    return list(faults_of(project, Pipeline("orders", type=kind), block))


LOAD = Block("load", "data_loader")


@pytest.mark.parametrize(
    "source",
    [
        "@data_loader\ndef load(): ...",
        "@data_loader()\ndef load(): ...",
        IMPORTED + "\n@data_loader\ndef load(): ...",
        "from mage_ai.data_preparation.decorators import data_loader as dl\n@dl\ndef load(): ...",
        "from mage_ai.data_preparation import decorators\n@decorators.data_loader\ndef load(): ...",
        "if True:\n    @test\n    @data_loader\n    def load(): ...",
        "def load(): ...\nload = data_loader(load)",
        "@data_integration_source\ndef load(): ...",
        "pattern = '\\d'\n@data_loader\ndef load(): ...",
    ],
)
def test_a_decorated_function_is_enough(project: Project, source: str) -> None:
    assert faults(project, LOAD, source) == []


@pytest.mark.parametrize(
    ("source", "line", "message", "hint"),
    [
        ("@data_loader\ndef load(:\n", 2, f"is no {PYTHON}: invalid syntax", None),
        ("x = 1\nreturn x\n", 2, f"is no {PYTHON}: 'return' outside function", None),
        ("x = (\n", 1, f"is no {PYTHON}: '(' was never closed", None),
        ("", 1, "decorates no function with @data_loader", None),
        ("import os\n\ndef load(): ...\n", 3, "decorates no function with @data_loader", None),
        (IMPORTED + "\ndef load(): ...\n", 4, "decorates no function with @data_loader", None),
        ("x = 1\n@transformer\ndef load(): ...\n", 2, "decorates no function with @data_loader", "it has @transformer"),
        ("(" * 5_000 + ")" * 5_000, 1, f"is no {PYTHON}: too many nested parentheses", None),
        ("x = " + "-" * 50_000 + "1", None, f"is no {PYTHON}", None),
        (b"\xff", None, "is not UTF-8: byte 0", None),
        (b"x" * 1_000_001, None, "is larger than 1,000,000 bytes", None),
    ],
)
def test_a_mistake_has_its_line(
    project: Project, source: str | bytes, line: int | None, message: str, hint: str | None
) -> None:
    (fault,) = faults(project, LOAD, source)
    assert (fault.file, fault.line, fault.hint) == ("data_loaders/load.py", line, hint)
    assert fault.message.startswith(message)


def test_a_missing_file_is_named_with_the_nearest_that_is_there(project: Project) -> None:
    (project.path / "data_loaders/loads.py").touch()
    (fault,) = faults(project, LOAD)
    assert fault == Fault("its file data_loaders/load.py is missing", "did you mean 'data_loaders/loads.py'?")
    (fault,) = faults(project, Block("save", "data_exporter", language="sql"))
    assert fault == Fault("its file data_exporters/save.sql is missing")


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("callback", "callback('failure')", "condition"),
        ("callback", "on_success", "x"),
        ("conditional", "condition", "x"),
    ],
)
def test_callbacks_and_conditionals_have_files_and_decorators_of_their_own(
    project: Project, kind: str, right: str, wrong: str
) -> None:
    block = Block("check", kind)
    (missing,) = faults(project, block)
    assert missing.message == f"its file {kind}s/check.py is missing"
    assert faults(project, block, f"@{right}\ndef check(): ...") == []
    (undecorated,) = faults(project, block, f"@{wrong}\ndef check(): ...")
    assert undecorated.line == (1 if wrong == "condition" else 2)


def test_an_embedded_source_has_its_line_in_the_message(project: Project) -> None:
    (fault,) = faults(project, Block("load", "custom", content="@custom\ndef load(:\n"))
    assert fault == Fault(f"line 2 of its content is no {PYTHON}: invalid syntax")


def test_what_has_no_code_of_its_own_is_left_alone(project: Project) -> None:
    assert faults(project, Block("notes", "markdown", language="markdown")) == []
    assert faults(project, Block("run", "command", command=("true",))) == []
    assert faults(project, Block("model", "dbt", language="sql")) == []
    assert faults(project, Block("load", "data_loader", language="sql"), "select") == []


def test_blocks_of_a_streaming_pipeline_may_be_classes(project: Project) -> None:
    assert faults(project, LOAD, "@streaming_source\nclass Load: ...", "streaming") == []
    assert len(faults(project, LOAD, "class Load", "streaming")) == 1


def test_a_replica_has_the_file_of_its_original(project: Project) -> None:
    assert faults(project, Block("again", "data_loader", original=LOAD), "@data_loader\ndef load(): ...") == []


def test_a_file_outside_the_project_is_refused(project: Project) -> None:
    with pytest.raises(UnsafePath):
        faults(project, Block("x", "custom", configuration={"file_path": "../x.py"}))

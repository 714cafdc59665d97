"""Names from outside stay inside."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Invalid, UnsafePath
from runmesh.projects import Block, Project, Templates, find_project, load_pipeline, load_project
from runmesh.projects.files import LARGEST_SOURCE, inside

UNSAFE = [
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "//x",
    "a\0b",
    "a\nb",
    "a\\b",
    "..\\x",
    "",
    ".",
    "./.",
    "x" * 256,
    "\ud800",
    "link_out",
    "link_out/secret",
    "link_file",
    "loop_a",
    "x/" * 600 + "x",
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project beside a secret, with links that lead to it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "metadata.yaml").write_text("")
    path = tmp_path / "projects" / "shop"
    (path / "data_loaders").mkdir(parents=True)
    (path / "metadata.yaml").write_text("")
    (path / "link_out").symlink_to(outside)
    (path / "link_file").symlink_to(outside / "secret")
    (path / "loop_a").symlink_to(path / "loop_b")
    (path / "loop_b").symlink_to(path / "loop_a")
    (path / "link_in").symlink_to(path / "data_loaders")
    (path.parent / "linked").symlink_to(outside)
    return Project("shop", path.resolve(), {}, Templates({}))


@pytest.mark.parametrize("name", UNSAFE)
def test_no_name_leads_outside(project: Project, name: str) -> None:
    if name == "loop_a":
        assert inside(project.path, name, where="f").parent == project.path
        return
    with pytest.raises(UnsafePath):
        inside(project.path, name, where="f")


@pytest.mark.parametrize(
    "name", ["a", "a/b", "a.b", "./a", "sp ace", "größe/月", "..a", "a..", "link_in/x", "missing/x"]
)
def test_unusual_names_inside_are_fine(project: Project, name: str) -> None:
    assert inside(project.path, name, where="f").is_relative_to(project.path)


@given(name=st.text())
def test_any_name_is_inside_or_refused(name: str) -> None:
    root = Path("/nowhere/at/all")
    try:
        assert inside(root, name, where="f").is_relative_to(root)
    except UnsafePath as error:
        assert error.problems[0].path == "f"  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize("name", [*UNSAFE, "linked", "a/b", ".hidden"])
def test_no_project_is_found_outside(project: Project, name: str) -> None:
    with pytest.raises(Invalid):
        find_project(project.path.parent, name)


@pytest.mark.parametrize("name", UNSAFE)
def test_no_pipeline_is_found_outside(project: Project, name: str) -> None:
    (project.path / "pipelines").mkdir()
    with pytest.raises(Invalid):
        load_pipeline(project, name)


def test_an_unknown_project_gets_the_nearest_name(project: Project) -> None:
    assert find_project(project.path.parent, "shop") == project.path
    with pytest.raises(Invalid, match=r"there is no project 'shpo'.*did you mean 'shop'"):
        find_project(project.path.parent, "shpo")
    with pytest.raises(Invalid, match="there is no project"):
        find_project(project.path / "nowhere", "shop")


def test_a_folder_whose_name_is_no_text_is_nobodys_nearest(project: Project) -> None:
    folder = os.fsencode(project.path.parent) + b"/sho\xff"
    os.mkdir(folder)  # noqa: PTH102 - pathlib takes no bytes
    with open(folder + b"/metadata.yaml", "w"):  # noqa: PTH123
        pass
    with pytest.raises(Invalid) as refused:
        find_project(project.path.parent, "sho")
    assert str(refused.value) == "project: there is no project 'sho' (did you mean 'shop'?)"


@pytest.mark.parametrize(
    "configuration", [{"file_path": 5}, {"file_path": ["a.py"]}, {"file_source": {"path": {"a": "b"}}}]
)
def test_a_configured_file_that_is_no_text_is_refused(project: Project, configuration: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="block b: configuration: its file's path must be text, not a"):
        project.block_path(Block("b", "data_loader", configuration=configuration))


@pytest.mark.parametrize("key", ["file_path", "file_source"])
@pytest.mark.parametrize("path", [*(name for name in UNSAFE if name not in ("", "loop_a")), "data_loaders/../../x"])
def test_no_configured_file_is_outside(project: Project, key: str, path: str) -> None:
    configuration = {key: path} if key == "file_path" else {key: {"path": path}}
    block = Block("b", "data_loader", configuration=configuration)
    for method in (project.block_path, project.block_file, project.block_source):
        with pytest.raises(UnsafePath):
            method(block)


def test_a_project_behind_a_link_inside_keeps_its_name(project: Project) -> None:
    (project.path.parent / "current").symlink_to("shop")
    current = load_project(find_project(project.path.parent, "current"), {})
    assert (current.name, current.path) == ("current", project.path)


def test_a_project_mounted_by_kubernetes_is_read(project: Project) -> None:
    (project.path / "..2024_01_31").mkdir()
    (project.path / "..data").symlink_to("..2024_01_31")
    (project.path / "metadata.yaml").rename(project.path / "..data" / "metadata.yaml")
    (project.path / "metadata.yaml").symlink_to("..data/metadata.yaml")
    assert load_project(find_project(project.path.parent, "shop"), {}).path == project.path


def test_no_folder_of_a_kind_leads_outside(project: Project) -> None:
    outside = project.path.parent.parent / "outside"
    (project.path / "custom").symlink_to(outside)
    (project.path / "pipelines").symlink_to(outside.parent)
    (outside / "code.py").write_text("secret")
    with pytest.raises(UnsafePath):
        project.block_source(Block("code", "custom"))
    with pytest.raises(UnsafePath):
        load_pipeline(project, "outside")


@pytest.mark.parametrize("name", ["../../outside/secret", "/etc/passwd", "../custom/x", "a\0b"])
def test_no_block_name_leads_outside(project: Project, name: str) -> None:
    with pytest.raises(UnsafePath):
        project.block_file(Block(name, "data_loader"))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Block("load", "data_loader"), "data_loaders/load.py"),
        (Block("t", "transformer", language="sql"), "transformers/t.sql"),
        (Block("e", "data_exporter", language="r"), "data_exporters/e.r"),
        (Block("e", "data_exporter", language="yaml"), "data_exporters/e.yaml"),
        (Block("c", "custom"), "custom/c.py"),
        (Block("m", "markdown", language="markdown"), "markdowns/m.md"),
        (Block("folder/load.v2", "data_loader"), "data_loaders/folder/load.v2.py"),
        (Block("größe", "sensor"), "sensors/größe.py"),
        (Block("x", "dbt", configuration={"file_path": "dbt/models/x.sql"}), "dbt/models/x.sql"),
        (Block("x", "custom", configuration={"file_source": {"path": "a.py"}, "file_path": "b.py"}), "a.py"),
        (Block("x", "custom", configuration={"file_source": {}, "file_path": None}), "custom/x.py"),
        (Block("copy", "custom", original=Block("load", "data_loader")), "data_loaders/load.py"),
        (Block("x", "custom", content="pass"), None),
    ],
)
def test_a_block_lies_where_mage_looks_for_it(project: Project, block: Block, expected: str | None) -> None:
    assert project.block_path(block) == (expected and project.path / expected)
    assert project.block_file(block) is None


def test_the_source_is_the_content_or_the_files_text(project: Project) -> None:
    file = project.path / "data_loaders" / "load.py"
    file.write_text("größe = 1\n")
    block = Block("load", "data_loader")
    assert project.block_file(block) == file
    assert project.block_source(block) == "größe = 1\n"
    assert project.block_source(Block("load", "data_loader", content="x = 2")) == "x = 2"
    assert project.block_source(Block("other", "data_loader")) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"x" * (LARGEST_SOURCE + 1), "larger than"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_source_that_cannot_be_used_is_refused(project: Project, data: bytes, message: str) -> None:
    (project.path / "custom").mkdir()
    (project.path / "custom" / "big.py").write_bytes(data)
    with pytest.raises(Invalid, match=f"block big: .*{message}"):
        project.block_source(Block("big", "custom"))
    with pytest.raises(Invalid, match="larger than"):
        project.block_source(Block("big", "custom", content="x" * (LARGEST_SOURCE + 1)))

"""What is kept of projects, and their revision."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runmesh.errors import Invalid, UnsafePath
from runmesh.projects import ProjectCache, revision


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """One project with one pipeline."""
    (tmp_path / "shop" / "pipelines" / "orders").mkdir(parents=True)
    (tmp_path / "shop" / "metadata.yaml").write_text("executor_type: \"{{ env_var('TYPE') }}\"")
    (tmp_path / "shop" / "pipelines" / "orders" / "metadata.yaml").write_text("name: first")
    return tmp_path


def test_equal_answers_are_the_same_object(projects: Path) -> None:
    cache = ProjectCache(projects, {"TYPE": "k8s"}, max_age=0)
    assert cache.project("shop").executor_type == "k8s"
    assert cache.project("shop") is cache.project("shop")
    assert cache.pipeline("shop", "orders") is cache.pipeline("shop", "orders")


def test_a_change_is_seen_and_nothing_else_read_again(projects: Path) -> None:
    cache = ProjectCache(projects, {}, max_age=0)
    project, first = cache.project("shop"), cache.pipeline("shop", "orders")
    (projects / "shop/pipelines/orders/metadata.yaml").write_text("name: another")
    assert (first.name, cache.pipeline("shop", "orders").name) == ("first", "another")
    assert cache.project("shop") is project


def test_the_disk_is_not_asked_again_within_the_age(projects: Path) -> None:
    cache = ProjectCache(projects, {}, max_age=3600)
    pipeline = cache.pipeline("shop", "orders")
    (projects / "shop/pipelines/orders/metadata.yaml").unlink()
    (projects / "shop/metadata.yaml").unlink()
    assert cache.pipeline("shop", "orders") is pipeline


def test_triggers_are_read_again_after_they_changed(projects: Path) -> None:
    cache = ProjectCache(projects, {}, max_age=0)
    document = projects / "shop/pipelines/orders/triggers.yaml"
    assert cache.triggers("shop", "orders").by_name == {}
    document.write_text("triggers: [{name: nightly}]")
    assert cache.triggers("shop", "orders") is cache.triggers("shop", "orders")
    assert list(cache.triggers("shop", "orders").by_name) == ["nightly"]
    document.write_text("triggers: [{name: hourly, settings: {timeout: 60}}]")
    assert cache.triggers("shop", "orders").by_name["hourly"].timeout == 60
    document.unlink()
    assert cache.triggers("shop", "orders").by_name == {}


def test_a_broken_document_is_refused_until_it_is_mended(projects: Path) -> None:
    cache = ProjectCache(projects, {}, max_age=0)
    document = projects / "shop/pipelines/orders/metadata.yaml"
    document.write_text("type: pyspak")
    for _ in range(3):
        with pytest.raises(Invalid, match="pyspak"):
            cache.pipeline("shop", "orders")
    document.write_text("type: pyspark")
    assert cache.pipeline("shop", "orders").type == "pyspark"


def test_what_is_gone_is_unknown(projects: Path) -> None:
    cache = ProjectCache(projects, {}, max_age=0)
    cache.pipeline("shop", "orders")
    (projects / "shop/pipelines/orders/metadata.yaml").unlink()
    with pytest.raises(Invalid, match="no pipeline"):
        cache.pipeline("shop", "orders")
    (projects / "shop/metadata.yaml").unlink()
    with pytest.raises(Invalid, match="no project"):
        cache.project("shop")


@pytest.mark.parametrize("name", ["../shop", "", "a\0b", "\ud800", "x" * 5000, "/", "shop/../shop", "shop/./"])
def test_names_are_as_safe_as_without_a_cache(projects: Path, name: str) -> None:
    cache = ProjectCache(projects, {}, max_age=0)
    with pytest.raises(UnsafePath):
        cache.project(name)
    with pytest.raises(UnsafePath):
        cache.pipeline("shop", name)


def write(name: str, text: str) -> Callable[[Path], object]:
    def change(project: Path) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)

    return change


@pytest.mark.parametrize(
    "change",
    [
        write("metadata.yaml", "changed"),
        write("data_loaders/new.py", ""),
        write("transformers/folder/model.sql", "select 1"),
        lambda project: (project / "metadata.yaml").unlink(),
        lambda project: (project / "metadata.yaml").rename(project / "renamed.yaml"),
    ],
)
def test_the_revision_follows_sources_and_documents(projects: Path, change: Callable[[Path], object]) -> None:
    before = revision(projects / "shop")
    change(projects / "shop")
    assert revision(projects / "shop") != before


@pytest.mark.parametrize(
    "name",
    [
        ".git/x.py",
        ".venv/x.py",
        "__pycache__/x.py",
        "pipelines/orders/.variables/x.json",
        "pipelines/orders/.logs/x.txt",
        ".runmesh/x.json",
        "data.parquet",
        "data.csv",
    ],
)
def test_the_revision_ignores_outputs_and_data(projects: Path, name: str) -> None:
    before = revision(projects / "shop")
    write(name, "anything")(projects / "shop")
    assert revision(projects / "shop") == before


def test_the_revision_ignores_large_files_and_survives_odd_ones(projects: Path) -> None:
    before = revision(projects / "shop")
    write("seed.json", "x" * 1_000_001)(projects / "shop")
    (projects / "shop" / "dangling.py").symlink_to("nowhere")
    assert revision(projects / "shop") == before


def test_the_same_files_elsewhere_have_the_same_revision(projects: Path) -> None:
    before = revision(projects / "shop")
    (projects / "shop").rename(projects / "moved")
    assert revision(projects / "moved") == before
    assert len(before) == 64

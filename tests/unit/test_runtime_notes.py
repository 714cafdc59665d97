"""The notes of a whole pipeline: which blocks began and have called nobody back."""

import json
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from runmesh.projects import Block
from runmesh.runtime.failed import Failed
from runmesh.runtime.notes import Notes
from runmesh.runtime.steps import Step


def step(name: str, child: int | None = None) -> Step:
    return Step(Block(name, "custom"), child)


def read(path: str) -> list[tuple[str, int | None]]:
    """Return what whoever comes afterwards finds."""
    notes = Notes(path, ())
    notes.read()
    return [(block, child) for block, child in notes.begun]


@pytest.fixture(params=["disk", "store"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "run/_pipeline.json") if request.param == "disk" else f"memory://{uuid4().hex}/notes.json"


def test_what_began_is_noted_until_it_calls_back(path: str) -> None:
    notes = Notes(path, {"load", "each"})
    for begins in (step("load"), step("each", 0), step("each", 1)):
        notes.begin(begins)
    notes.end(step("each", 0))
    assert read(path) == [("load", None), ("each", 1)]
    notes.end(step("load"))
    notes.end(step("each", 1))
    assert read(path) == []


def test_what_one_attempt_left_behind_stays_until_another_has_run_it(path: str) -> None:
    first = Notes(path, {"load", "other"})
    first.begin(step("load"))
    second = Notes(path, {"load", "other"})
    second.read()
    second.begin(step("other"))
    assert read(path) == [("load", None), ("other", None)]
    second.begin(step("load"))
    second.end(step("load"))
    assert read(path) == [("other", None)]


def test_blocks_without_such_callbacks_cost_no_write(tmp_path: Path) -> None:
    notes = Notes(str(tmp_path / "notes.json"), {"load"})
    notes.begin(step("other"))
    notes.end(step("other"))
    notes.end(step("load"))
    assert not [*tmp_path.iterdir()]


def test_what_blocks_note_at_the_same_time_is_all_there(tmp_path: Path) -> None:
    path = str(tmp_path / "notes.json")
    notes = Notes(path, {"each"})

    def run(child: int) -> None:
        for _ in range(20):
            notes.begin(step("each", child))
            assert ("each", child) in read(path)
            notes.end(step("each", child))
            assert ("each", child) not in read(path)
        notes.begin(step("each", child))

    threads = [Thread(target=run, args=(child,)) for child in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(child for _, child in read(path) if child is not None) == [0, 1, 2, 3, 4, 5]


def test_notes_that_are_none_are_an_error_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    for content in ("{", "[1]", json.dumps([["a", 1, 2]])):
        path.write_text(content)
        with pytest.raises(Failed, match=r"can't be read from .*notes\.json"):
            Notes(str(path), ()).read()


def test_a_place_where_nothing_can_be_noted_stops_no_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    notes = Notes(str(tmp_path / "file" / "notes.json"), {"load"})
    notes.begin(step("load"))
    assert "warning: which blocks have begun can't be noted" in capsys.readouterr().err

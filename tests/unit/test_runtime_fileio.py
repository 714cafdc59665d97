"""Blocks that use Mage's FileIO find one without Mage."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from runmesh.runtime.fileio import FileIO

FRAME = pd.DataFrame({"n": [1, 2], "s": ["x", "y"]})


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.parquet"])
def test_a_frame_is_written_and_read_as_the_extension_says(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"index": False} if name.endswith("csv") else {}
    FileIO().export(FRAME, tmp_path / name, **options)
    assert FileIO().exists(tmp_path / name)
    pd.testing.assert_frame_equal(FileIO().load(tmp_path / name), FRAME)


def test_a_named_format_beats_the_extension(tmp_path: Path) -> None:
    FileIO().export(FRAME, str(tmp_path / "rows.txt"), format="csv", index=False)
    assert (tmp_path / "rows.txt").read_text() == "n,s\n1,x\n2,y\n"


def test_pandas_writes_the_index_as_with_mage(tmp_path: Path) -> None:
    FileIO(verbose=True).export(FRAME, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().startswith(",n,s\n0,1,x\n")


def test_a_polars_frame_is_written_by_polars(tmp_path: Path) -> None:
    FileIO().export(pl.DataFrame({"n": [1]}), str(tmp_path / "rows.csv"))
    assert (tmp_path / "rows.csv").read_text() == "n\n1\n"


def test_the_files_of_directories_become_one_frame(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        FileIO().export(FRAME, tmp_path / name / "rows.csv", index=False)
    assert list(FileIO().load(file_directories=[str(tmp_path)]).n) == [1, 2, 1, 2]


def test_an_unknown_extension_is_an_error_that_names_the_formats() -> None:
    with pytest.raises(ValueError, match=r"rows\.dat: no format 'dat', only csv, json"):
        FileIO().load("rows.dat")

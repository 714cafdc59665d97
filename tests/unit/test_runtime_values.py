"""What a block returns is what the block below gets, whatever it is, or an error that says what can't be stored."""

import datetime as dt
import decimal
import json
import math
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.runtime.values import Unreadable, describe, load, store

NAIVE = dt.datetime(2024, 2, 29, 1, 2, 3)  # noqa: DTZ001 - users have such
HUGE = 10**5000
JSON_LIKE = [None, True, 0, -1.5, 10**40, "", "text \ud800 \0 ü", [], {}, [1, [2, {"a": None}]], {"ü": {"b": [1.0]}}]
PICKLED = [
    (1, 2), {1: "int key"}, {(1, 2): "tuple key"}, {1, 2}, b"bytes", math.inf, NAIVE,
    dt.date(2024, 2, 29), decimal.Decimal("1.10"), np.float64(1.5), np.int64(3), [np.int64(3)], {"t": (1, 2)},
    {"when": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}, range(3), HUGE,
]  # fmt: skip


def there_and_back(value: Any, directory: Path) -> Any:
    store(value, directory)
    return load(directory)


def type_file(directory: Path) -> Any:
    return json.loads((directory / "type.json").read_text())


@pytest.mark.parametrize("value", JSON_LIKE, ids=repr)
def test_json_like_values_are_stored_as_json(value: Any, tmp_path: Path) -> None:
    assert there_and_back(value, tmp_path) == value
    assert (tmp_path / "data.json").exists()
    assert type_file(tmp_path) == {"type": "iterable" if isinstance(value, list) else None}


@pytest.mark.parametrize("value", PICKLED, ids=lambda value: "huge" if value is HUGE else repr(value)[:40])
def test_what_json_would_change_is_pickled_and_keeps_its_type(value: Any, tmp_path: Path) -> None:
    back = there_and_back(value, tmp_path)
    assert back == value
    assert type(back) is type(value)
    assert type_file(tmp_path)["type"] == "custom_object"


def test_nan_stays_nan_inside_a_list(tmp_path: Path) -> None:
    back = there_and_back([1.0, math.nan], tmp_path)
    assert back[0] == 1.0
    assert math.isnan(back[1])


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates()
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
)


@given(values)
def test_any_nested_value_comes_back_as_it_was(value: Any) -> None:
    with TemporaryDirectory() as directory:
        back = there_and_back(value, Path(directory))
    assert repr(back) == repr(value)


FRAMES = {
    "plain": pd.DataFrame({"a": [1, 2], "b": [1.5, None], "c": ["x", None]}),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int64")}),
    "dates": pd.DataFrame({"t": pd.date_range("2024-01-01", periods=2, tz="Europe/Zurich")}),
    "durations": pd.DataFrame({"d": pd.to_timedelta([1, 2])}),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b"])}),
    "nullable": pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "multi-index": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["n", "l"])),
    "numbers as columns": pd.DataFrame(np.zeros((2, 3))),
    "dict cells": pd.DataFrame({"d": [{"a": 1}, {"b": 2}]}),
    "dict cells and none": pd.DataFrame({"d": [{"a": 1}, None]}, dtype=object),
    "list cells": pd.DataFrame({"l": [[1, 2], ["x"]]}, index=[5, 6]),
    "mixed cells": pd.DataFrame({"m": [1, "x", None, (1, 2)]}, dtype=object),
    "ints and none": pd.DataFrame({"m": [1, None]}, dtype=object),
    "duplicate columns": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "two levels of columns": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
    "complex numbers": pd.DataFrame({"z": [1 + 2j]}),
    "columns of both kinds": pd.DataFrame({"a": [1], 2: [3]}),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_a_pandas_dataframe_comes_back_equal(name: str, tmp_path: Path) -> None:
    frame = FRAMES[name]
    before = frame.copy(deep=True)
    back = there_and_back(frame, tmp_path)
    pd.testing.assert_frame_equal(back, before)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", ["plain", "dates", "dict cells", "list cells", "no rows", "numbers as columns"])
def test_an_ordinary_dataframe_is_parquet_of_type_dataframe(name: str, tmp_path: Path) -> None:
    store(FRAMES[name], tmp_path)
    assert type_file(tmp_path) == {"type": "dataframe"}
    assert len(pd.read_parquet(tmp_path / "data.parquet")) == len(FRAMES[name])


def test_dict_cells_are_json_texts_as_mage_writes_them(tmp_path: Path) -> None:
    store(FRAMES["dict cells"], tmp_path)
    assert json.loads((tmp_path / "data_column_types.json").read_text()) == {"d": "dict"}
    assert pd.read_parquet(tmp_path / "data.parquet")["d"].tolist() == ['{"a": 1}', '{"b": 2}']


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1, 2], []], "d": [{"k": 1}, {"k": 2}]}),
        pl.DataFrame({"t": [NAIVE], "e": pl.Series(["a"], dtype=pl.Categorical)}),
        pl.DataFrame(),
    ],
)
def test_a_polars_dataframe_stays_one(frame: pl.DataFrame, tmp_path: Path) -> None:
    back = there_and_back(frame, tmp_path)
    assert type(back) is pl.DataFrame
    assert back.equals(frame)
    assert type_file(tmp_path) == {"type": "polars_dataframe"}


def test_series_arrays_and_lists_of_dataframes_come_back(tmp_path: Path) -> None:
    frame = FRAMES["plain"]
    for number, value in enumerate([frame["a"], np.eye(2), [frame, frame], {"f": frame}, pl.Series([1])]):
        directory = tmp_path / str(number)
        directory.mkdir()
        assert repr(there_and_back(value, directory)) == repr(value)


def test_a_stored_dataframe_is_described_by_its_shape(tmp_path: Path) -> None:
    assert store(FRAMES["plain"], tmp_path) == {"type": "pandas.DataFrame", "rows": 2, "columns": 3}
    assert describe(np.zeros((2, 4))) == {"type": "numpy.ndarray", "shape": [2, 4]}
    assert describe([1, 2]) == {"type": "list", "rows": 2}
    assert describe(3) == {"type": "int"}


def test_a_value_that_cannot_be_pickled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        store(lambda: None, tmp_path)


@pytest.mark.parametrize("kind", ["geo_dataframe", "matrix_sparse", "series_polars"])
def test_a_type_that_only_mage_reads_says_so(kind: str, tmp_path: Path) -> None:
    (tmp_path / "type.json").write_text(json.dumps({"type": kind}))
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(Unreadable, match=f"{kind}.*runtime: mage"):
        load(tmp_path)


def test_what_mage_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "type.json").write_text(json.dumps({"type": "dataframe"}))
    (tmp_path / "data_column_types.json").write_text(json.dumps({"d": "dict", "n": "int64", "l": "list", "s": "str"}))
    columns = {"d": ['{"a": 1}', None], "n": [1.0, 2.0], "l": [[1], [2]], "s": ["x", "y"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "data.parquet")
    frame = load(tmp_path)
    assert frame["d"].tolist() == [{"a": 1}, None]
    assert frame["l"].tolist() == [[1], [2]]
    assert str(frame["n"].dtype) == "int64"


def test_parquet_without_a_type_file_is_a_dataframe(tmp_path: Path) -> None:
    FRAMES["plain"].to_parquet(tmp_path / "data.parquet")
    pd.testing.assert_frame_equal(load(tmp_path), FRAMES["plain"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store((1, 2), tmp_path)
    (tmp_path / "object.joblib").write_bytes(b"half")
    with pytest.raises(Unreadable, match=str(tmp_path)):
        load(tmp_path)


def about(value: Any, path: Path | None = None) -> dict[str, Any]:
    """What Mage notes of a value inside a list or dict."""
    kind = type(value)
    return {"module": kind.__module__, "name": kind.__name__, "type": "instance"} | (
        {"path": str(path)} if path else {}
    )


def as_mage_writes(directory: Path, kind: str, data: Any, types: dict[str, Any], **objects: Any) -> Path:
    (directory / "type.json").write_text(json.dumps({"type": kind}))
    (directory / "data.json").write_text(json.dumps(data))
    (directory / "data_column_types.json").write_text(json.dumps(types))
    for name, value in objects.items():
        path = directory.joinpath(*name.split("__")) / "object.joblib"
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(value))
    return directory


def test_a_dict_of_anything_that_mage_wrote_is_read(tmp_path: Path) -> None:
    frame, day, elsewhere = pd.DataFrame({"n": [1]}), dt.date(2024, 1, 1), Path("/mage/machine/days/1/object.joblib")
    types = {"a.frame": about(frame), "days": about([]), "days.0": about(1), "days.1": about(day, elsewhere)}
    types |= {"pair": about(()), "rate": about(np.float64(1)), "deep.0": about({}), "deep.0.q": about(None)}
    data = {"a.frame": [{"n": 1}], "days": [1, "datetime.date"], "pair": [1, 2], "rate": 1.5, "deep": [{"q": None}]}
    back = load(as_mage_writes(tmp_path, "dictionary_complex", data, types, days__1=day))
    pd.testing.assert_frame_equal(back.pop("a")["frame"], frame)
    assert back == {"days": [1, day], "pair": (1, 2), "rate": 1.5, "deep": [{"q": None}]}


def test_a_list_of_dataframes_that_mage_wrote_is_read(tmp_path: Path) -> None:
    frames = [pd.DataFrame({"n": [1, 2]}), pl.DataFrame({"n": [3]})]
    types = {str(number): about(frame) for number, frame in enumerate(frames)}
    types["1"]["module"] = "polars.dataframe.frame"
    first, second = load(as_mage_writes(tmp_path, "list_complex", [[{"n": 1}, {"n": 2}], [{"n": 3}]], types))
    pd.testing.assert_frame_equal(first, frames[0])
    assert second.equals(frames[1])


def test_a_value_of_which_mage_kept_only_the_name_says_so(tmp_path: Path) -> None:
    as_mage_writes(tmp_path, "list_complex", ["numpy.ndarray"], {"0": about(np.eye(1))})
    with pytest.raises(Unreadable, match=r"Mage keeps no numpy\.ndarray inside a list or dict \(0\)"):
        load(tmp_path)
    (tmp_path / "type.json").write_text('{"type": "custom_object"}')
    with pytest.raises(Unreadable, match="Mage keeps only the name"):
        load(tmp_path)


def test_an_object_outside_of_the_output_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "object.joblib").write_bytes(pickle.dumps("secret"))
    output = tmp_path / "output_0"
    output.mkdir()
    as_mage_writes(output, "dictionary_complex", {"..": 0}, {"..": about(1, Path("object.joblib"))})
    with pytest.raises(Unreadable, match="outside"):
        load(output)


def test_a_plain_object_that_mage_wrote_needs_no_joblib(tmp_path: Path) -> None:
    (tmp_path / "type.json").write_text('{"type": "custom_object"}')
    (tmp_path / "object.joblib").write_bytes(pickle.dumps(NAIVE))
    assert load(tmp_path) == NAIVE


def test_arrays_are_pickled_as_the_numpy_of_mage_reads_them(tmp_path: Path) -> None:
    store([np.eye(2)], tmp_path)
    assert b"numpy._core.numeric" not in (tmp_path / "object.joblib").read_bytes()


def test_one_series_that_mage_wrote_is_read_and_a_list_of_them_refused(tmp_path: Path) -> None:
    (tmp_path / "type.json").write_text('{"type": "series_pandas"}')
    pd.DataFrame({"s": [1, 2]}).to_parquet(tmp_path / "data.parquet")
    pd.testing.assert_series_equal(load(tmp_path), pd.Series([1, 2], name="s"))
    pd.DataFrame({"a_0": [1, 2], "b_1": [3.0, None]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(Unreadable, match="several Series"):
        load(tmp_path)

"""Patches over a finished manifest: strategic merge patches and JSON patches."""

from typing import Any

import pytest

from runmesh.errors import Rejected
from runmesh.executors.kubernetes.config import Config
from runmesh.executors.kubernetes.patching import patched

POD = {
    "metadata": {"labels": {"a": "1", "b": "2"}},
    "containers": [{"name": "main", "image": "x", "env": [{"name": "A", "value": "1"}]}, {"name": "other"}],
    "tolerations": [{"key": "a"}],
    "volumeMounts": [{"mountPath": "/a", "name": "one"}],
}


def after(*parts: Any) -> dict[str, Any]:
    return patched(POD, parts)


def test_a_strategic_patch_merges_deeply_and_null_deletes() -> None:
    assert after({"metadata": {"labels": {"a": None, "c": "3"}}})["metadata"] == {"labels": {"b": "2", "c": "3"}}


def test_items_are_found_by_the_field_that_names_them() -> None:
    found = after({"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}, {"name": "new"}]})
    assert found["containers"] == [
        {"name": "main", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "other"},
        {"name": "new"},
    ]
    assert after({"volumeMounts": [{"mountPath": "/a", "name": "two"}]})["volumeMounts"] == [
        {"mountPath": "/a", "name": "two"}
    ]


def test_lists_that_kubernetes_does_not_merge_are_replaced() -> None:
    assert after({"tolerations": [{"key": "b"}]})["tolerations"] == [{"key": "b"}]


def test_directives_delete_and_replace() -> None:
    assert after({"containers": [{"name": "main", "$patch": "delete"}]})["containers"] == [{"name": "other"}]
    assert after({"containers": [{"$patch": "replace"}, {"name": "new"}]})["containers"] == [{"name": "new"}]
    assert after({"metadata": {"$patch": "replace", "x": 1}})["metadata"] == {"x": 1}
    assert "metadata" not in after({"metadata": {"$patch": "delete"}})


def test_an_item_without_its_name_is_rejected() -> None:
    with pytest.raises(Rejected, match="name"):
        after({"containers": [{"image": "x"}]})


@pytest.mark.parametrize(
    ("operation", "path", "expected"),
    [
        ({"op": "add", "path": "/metadata/labels/a~1b", "value": "3"}, ("metadata", "labels", "a/b"), "3"),
        ({"op": "add", "path": "/metadata/labels/a~0b", "value": "3"}, ("metadata", "labels", "a~b"), "3"),
        (
            {"op": "add", "path": "/tolerations/-", "value": {"key": "b"}},
            ("tolerations",),
            [{"key": "a"}, {"key": "b"}],
        ),
        (
            {"op": "add", "path": "/tolerations/0", "value": {"key": "b"}},
            ("tolerations",),
            [{"key": "b"}, {"key": "a"}],
        ),
        ({"op": "replace", "path": "/containers/0/image", "value": "y"}, ("containers", 0, "image"), "y"),
        ({"op": "remove", "path": "/containers/0"}, ("containers",), [{"name": "other"}]),
        ({"op": "move", "from": "/metadata/labels/a", "path": "/moved"}, ("moved",), "1"),
        ({"op": "copy", "from": "/metadata/labels", "path": "/copied"}, ("copied",), {"a": "1", "b": "2"}),
        ({"op": "test", "path": "/containers/1/name", "value": "other"}, ("containers", 1, "name"), "other"),
        ({"op": "replace", "path": "", "value": {"x": 1}}, (), {"x": 1}),
    ],
)
def test_an_operation_does_what_rfc_6902_says(operation: Any, path: tuple[Any, ...], expected: Any) -> None:
    found: Any = after(operation)
    for key in path:
        found = found[key]
    assert found == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nowhere"},
        {"op": "remove", "path": "/containers/9"},
        {"op": "replace", "path": "/containers/x", "value": 1},
        {"op": "add", "path": "/nowhere/x", "value": 1},
        {"op": "add", "path": "/containers/3", "value": 1},
        {"op": "add", "path": "/containers/0/image/x", "value": 1},
        {"op": "move", "from": "/nowhere", "path": "/x"},
        {"op": "test", "path": "/containers/0/name", "value": "x"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "", "value": 1},
    ],
)
def test_an_operation_that_does_not_fit_is_rejected(operation: Any) -> None:
    with pytest.raises(Rejected, match="patch"):
        after(operation)


def test_the_manifest_itself_stays_as_it_was() -> None:
    before = repr(POD)
    after({"metadata": {"labels": None}}, {"op": "remove", "path": "/containers/0"})
    assert repr(POD) == before


def test_a_patch_is_spelled_as_one_likes_and_keeps_its_nulls() -> None:
    patch = {"spec": {"template": {"spec": {"host_network": True, "node_selector": None}}, "newField": 1}}
    expected = {"spec": {"template": {"spec": {"hostNetwork": True, "nodeSelector": None}}, "newField": 1}}
    assert Config.canonical({"patch": patch}) == {"patch": [expected]}


def test_a_list_may_mix_both_kinds() -> None:
    parts = [{"metadata": {"labels": {"c": "3"}}}, {"op": "remove", "path": "/metadata/labels/c"}]
    assert Config.model_validate({"patch": parts}).patch == tuple(parts)
    assert after(*parts) == POD

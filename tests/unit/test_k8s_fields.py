"""The table of the API's fields, compared with the client library, which is generated from the API itself."""

import re
from typing import Any, Final

import pytest

from runmesh.executors.kubernetes.fields import TYPES, plain

MARKS: Final = {"str": "", "int": "#", "bool": "?", "object": "*"}
SAME: Final = {"PodAntiAffinity": "PodAffinity", "VolumeResourceRequirements": "ResourceRequirements"}
QUANTITIES: Final = {"limits", "requests", "overhead", "sizeLimit", "divisor"}
OF_THE_SERVER: Final = {
    *("managedFields", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"),
    *("resourceVersion", "selfLink", "uid", "ephemeralContainers"),
}


def model(kind: str) -> Any:
    models = pytest.importorskip("kubernetes_asyncio.client.models")
    return getattr(models, f"V1{kind}", None) or getattr(models, f"CoreV1{kind}")


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"Job"}))
def test_a_type_has_the_fields_that_it_has_in_the_api(kind: str) -> None:
    theirs = model(kind)
    expected = {
        name: written(name, theirs.openapi_types[attribute])
        for attribute, name in theirs.attribute_map.items()
        if name not in OF_THE_SERVER or kind == "OwnerReference"
    }
    assert {field.name: (field.many, field.mark, field.type) for field in TYPES[kind].values()} == expected


def written(name: str, kind: str) -> tuple[str, str, str]:
    """Return how a field's type is written in the table."""
    many = "[]" if kind.startswith("list") else "{}" if kind.startswith("dict") else ""
    kind = re.sub(r"^list\[(.+)\]$|^dict\(str, (.+)\)$", lambda found: found[1] or found[2], kind)
    if name in QUANTITIES:
        return many, "%", ""
    if kind in MARKS:
        return many, MARKS[kind], ""
    kind = kind.removeprefix("CoreV1").removeprefix("V1")
    return many, "", SAME.get(kind, kind)


def test_every_type_that_a_field_holds_is_there() -> None:
    held = {field.type for fields in TYPES.values() for field in fields.values() if field.type}
    assert held - set(TYPES) == set()


def test_no_two_fields_of_a_type_have_spellings_in_common() -> None:
    for fields in TYPES.values():
        assert len(fields) == len({plain(field.name) for field in fields.values()})

"""What Azure refuses of a container group: fields that the SDK's models don't know, and more, in its own words."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final

from azure.mgmt.containerinstance import models

from tests.emulators.arm.refusals import ArmError

LOCATIONS: Final = ("westeurope", "eastus")
_NAME: Final = re.compile(r"(?!.*--)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MISSING_IMAGE: Final = "missing"

Json = Mapping[str, Any]


def check(name: str, body: Json) -> None:
    """Refuse a group that Azure would refuse. Raises `ArmError`."""
    if flaw := next(_flaws("ContainerGroup", body, "$"), None):
        raise ArmError("InvalidRequestContent", f"The request content was invalid: {flaw}")
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(body["properties"]["containers"][0]["name"]):
        raise ArmError("InvalidContainerGroupName", f"The container group name '{name}' is invalid.")
    if body.get("location") not in LOCATIONS:
        known = ", ".join(LOCATIONS)
        said = f"The provided location '{body.get('location')}' is not available. List of available regions: {known}"
        raise ArmError("LocationNotAvailableForResourceType", said)
    names = [each.lower() for each in body.get("tags", {})]
    if (
        len(names) > 50
        or len(set(names)) < len(names)
        or any(each.startswith(("azure", "microsoft")) for each in names)
    ):
        raise ArmError("InvalidTags", f"Too many, duplicate or reserved tag names: {names}")
    for container in body["properties"]["containers"]:
        _check_container(container["properties"], container["name"])
    for volume in body["properties"].get("volumes", ()):
        if "azureFile" in volume and not volume["azureFile"].get("storageAccountKey"):
            raise ArmError("InvalidVolume", f"The key of the azure file volume '{volume['name']}' is missing.")


def _check_container(container: Json, name: str) -> None:
    if _MISSING_IMAGE in container["image"]:
        said = f"The image '{container['image']}' in container group '{name}' is not accessible."
        raise ArmError("InaccessibleImage", said)
    asked = container["resources"]["requests"]
    if Decimal(str(asked["memoryInGB"])) % Decimal("0.1"):
        raise ArmError("InvalidContainerMemory", f"The memory of '{name}' should be a multiple of 0.1 GB.")
    names = [each["name"] for each in container.get("environmentVariables", ())]
    if len(set(names)) < len(names):
        raise ArmError("DuplicateEnvironmentVariable", f"Duplicate environment variables: {names}")


def _flaws(model: str, value: Any, where: str) -> Iterator[str]:
    """Yield what a value has that the SDK's model of it doesn't know, and what it lacks."""
    if model.startswith(("[", "{")):
        kind = model[1:-1]
        parts = enumerate(value) if model[0] == "[" else value.items()
        for key, each in parts:
            yield from _flaws(kind, each, f"{where}[{key}]")
        return
    if (fields := _fields(model)) is None:
        return
    leaves = dict(_leaves(value, fields, ""))
    for path, each in leaves.items():
        if path not in fields:
            yield f"Could not find member '{path}' on object of type '{model}' at {where}"
        elif fields[path][1]:
            yield f"'{path}' is read-only at {where}"
        else:
            yield from _flaws(fields[path][0], each, f"{where}.{path}")
    yield from (
        f"Required property '{path}' not found at {where}"
        for path, each in fields.items()
        if each[2] and path not in leaves
    )


def _leaves(value: Json, fields: Json, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value by their path: the models have no name for ``properties``."""
    for key, each in value.items():
        path = f"{prefix}{key}"
        if path not in fields and any(name.startswith(f"{path}.") for name in fields) and isinstance(each, Mapping):
            yield from _leaves(each, fields, f"{path}.")
        else:
            yield path, each


@cache
def _fields(model: str) -> dict[str, tuple[str, bool, bool]] | None:
    """Return a model's fields by path: their type, whether only Azure sets them, whether they must be there."""
    found: Any = getattr(models, model, None)
    if not hasattr(found, "_attribute_map"):
        return None
    rules = found._validation  # noqa: SLF001 - the SDK's own description of itself
    return {
        each["key"]: (
            each["type"],
            rules.get(name, {}).get("readonly", False),
            rules.get(name, {}).get("required", False),
        )
        for name, each in found._attribute_map.items()  # noqa: SLF001 - likewise
    }

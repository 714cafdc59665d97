"""Patches over a finished manifest: strategic merge patches, and JSON patches (RFC 6902).

A patch is a list of parts: a mapping with ``op`` and ``path`` is an operation of a JSON patch, any other mapping a
strategic merge patch. There, null deletes, and the items of lists that Kubernetes merges are found by a field of theirs
(``$patch: delete`` and ``$patch: replace`` are understood).
"""

from collections.abc import Iterable, Mapping, MutableMapping
from copy import deepcopy
from typing import Any, Final

from runmesh.errors import Rejected

_MERGED_BY: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ownerReferences": "uid",
}
"""The lists that Kubernetes merges, and the field by which it knows their items."""
_DIRECTIVE: Final = "$patch"
_OPERATIONS: Final = ("add", "remove", "replace", "move", "copy", "test")


def is_operation(part: Mapping[str, Any]) -> bool:
    """Tell the operation of a JSON patch from a strategic merge patch."""
    return "op" in part and "path" in part


def wrong(part: object) -> str | None:
    """Say what is wrong with a part of a patch, as far as it can be known without a manifest."""
    if not isinstance(part, Mapping):
        return "should be a mapping"
    if not is_operation(part):
        return None
    if part["op"] not in _OPERATIONS:
        return f"unknown op {part['op']!r}, known: {', '.join(_OPERATIONS)}"
    missing = {"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from"}.get(part["op"])
    if missing and missing not in part:
        return f"{part['op']} needs a {missing!r}"
    pointers = (part["path"], part.get("from", ""))
    if not all(isinstance(each, str) and (each == "" or each.startswith("/")) for each in pointers):
        return "a path begins with /"
    return None


def patched(manifest: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the manifest with the patch applied. Raises `Rejected` where it doesn't fit."""
    document: Any = {"": deepcopy(dict(manifest))}
    for part in parts:
        if is_operation(part):
            _operate(document, part)
        else:
            document = {"": merged(document[""], part)}
    found = document.get("")
    if not isinstance(found, dict):
        raise Rejected("patch: it leaves no manifest")
    return found


# --- strategic merge ----------------------------------------------------------------------------------


def merged(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a strategic merge patch over an object."""
    found = dict(below) if isinstance(below, Mapping) and above.get(_DIRECTIVE) != "replace" else {}
    for key, value in above.items():
        if key == _DIRECTIVE:
            continue
        if value is None or (isinstance(value, Mapping) and value.get(_DIRECTIVE) == "delete"):
            found.pop(key, None)
        elif isinstance(value, Mapping):
            found[key] = merged(found.get(key), value)
        elif isinstance(value, list) and key in _MERGED_BY:
            found[key] = _merged_items(found.get(key) or [], value, _MERGED_BY[key])
        else:
            found[key] = value
    return found


def _merged_items(below: list[Any], above: list[Any], name: str) -> list[Any]:
    if any(isinstance(item, Mapping) and item.get(_DIRECTIVE) == "replace" for item in above):
        return [item for item in above if not (isinstance(item, Mapping) and _DIRECTIVE in item)]
    items = list(below)
    for item in above:
        if not isinstance(item, Mapping) or item.get(name) is None:
            raise Rejected(f"patch: an item has no {name!r}: {item!r}")
        at = next((index for index, each in enumerate(items) if each.get(name) == item[name]), len(items))
        items[at : at + 1] = [] if item.get(_DIRECTIVE) == "delete" else [merged((items[at:] or [{}])[0], item)]
    return items


# --- JSON patch ---------------------------------------------------------------------------------------


def _operate(document: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Apply one operation; the manifest is the value of the document's only key, so that it can be replaced, too."""
    path, source = _keys(part["path"]), _keys(part.get("from", ""))
    match part["op"]:
        case "add":
            _add(document, path, deepcopy(part["value"]))
        case "replace":
            _remove(document, path)
            _add(document, path, deepcopy(part["value"]))
        case "remove":
            _remove(document, path)
        case "move":
            _add(document, path, _remove(document, source))
        case "copy":
            _add(document, path, deepcopy(_at(document, source)))
        case "test" if _at(document, path) != part["value"]:
            raise Rejected(f"patch: {part['path']} is {_at(document, path)!r}, not {part['value']!r}")


def _keys(pointer: str) -> list[str]:
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")]


def _at(document: Any, path: list[str]) -> Any:
    for key in path:
        document = _item(document, key, path)
    return document


def _item(holder: Any, key: str, path: list[str]) -> Any:
    try:
        return holder[int(key)] if isinstance(holder, list) and key.isdigit() else holder[key]
    except (KeyError, IndexError, TypeError):
        raise Rejected(f"patch: there is no {'/'.join(path)}") from None


def _add(document: Any, path: list[str], value: Any) -> None:
    holder, key = _at(document, path[:-1]), path[-1]
    if isinstance(holder, MutableMapping):
        holder[key] = value
    elif isinstance(holder, list) and (key == "-" or (key.isdigit() and int(key) <= len(holder))):
        holder.insert(len(holder) if key == "-" else int(key), value)
    else:
        raise Rejected(f"patch: nothing can be added at {'/'.join(path)}")


def _remove(document: Any, path: list[str]) -> Any:
    holder, key = _at(document, path[:-1]), path[-1]
    _item(holder, key, path)
    return holder.pop(int(key)) if isinstance(holder, list) else holder.pop(key)

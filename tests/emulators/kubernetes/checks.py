"""What the API refuses of a Job, in its own words: unknown fields, wrong types, and broken rules.

The fields and their types are those of the official models, so a manifest that passes here has no field that the
API does not know (`fieldValidation=Strict`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubernetes_asyncio.client import models

from tests.emulators.kubernetes.status import Status, invalid

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
VARIABLE: Final = re.compile(r"[!-<>-~]+")
QUANTITY: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?")
LONGEST: Final = 63
_SIMPLE: Final[dict[str, type | tuple[type, ...]]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
_QUANTITIES: Final = ("limits", "requests", "overhead", "sizeLimit", "divisor")
_POLICIES: Final = ("Never", "OnFailure")

Cause = dict[str, str]


def decode(kind: str, document: Any, *, strict: bool) -> None:
    """Refuse what the models do not know. Raises `Status` 400."""
    problems = list(_decoded(f"V1{kind}", document, ""))
    wrong = [problem for problem in problems if not problem.startswith("unknown")]
    if wrong:
        raise Status(400, f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {wrong[0]}')
    if problems and strict:
        raise Status(
            400, f'{kind} in version "v1" cannot be handled as a {kind}: strict decoding error: {", ".join(problems)}'
        )


def _decoded(type_: str, value: Any, path: str) -> Iterator[str]:
    if value is None or type_ in ("object", "datetime"):
        return
    if type_.startswith("list["):
        yield from _list(type_[5:-1], value, path)
    elif type_.startswith("dict("):
        yield from _map(type_[5:-1].partition(", ")[2], value, path)
    elif type_ in _SIMPLE:
        if not isinstance(value, _SIMPLE[type_]) or (type_ == "int" and isinstance(value, bool)):
            yield f"{_said(value)} into Go struct field {path} of type {type_}"
    else:
        yield from _struct(type_, value, path)


def _list(inner: str, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{_said(value)} into Go struct field {path} of type []{inner}"
        return
    for number, item in enumerate(value):
        yield from _decoded(inner, item, f"{path}[{number}]")


def _map(inner: str, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{_said(value)} into Go struct field {path} of type map[string]{inner}"
        return
    for name, item in value.items():
        yield from _decoded(inner, item, f"{path}.{name}")


def _struct(type_: str, value: Any, path: str) -> Iterator[str]:
    model = getattr(models, type_)
    if not isinstance(value, dict):
        yield f"{_said(value)} into Go struct field {path} of type {type_}"
        return
    known = {model.attribute_map[name]: inner for name, inner in model.openapi_types.items()}
    for name, item in value.items():
        place = f"{path}.{name}" if path else name
        if name in _QUANTITIES:
            yield from _decoded(known[name], _as_text(item), place)
        elif name in known:
            yield from _decoded(known[name], item, place)
        else:
            yield f'unknown field "{place}"'


def _as_text(quantity: Any) -> Any:
    """A quantity may also be written as a number."""
    if isinstance(quantity, dict):
        return {name: _as_text(item) for name, item in quantity.items()}
    return str(quantity) if isinstance(quantity, int | float) and not isinstance(quantity, bool) else quantity


def _said(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def check(job: Mapping[str, Any]) -> None:
    """Refuse a Job that breaks rules. Raises `Status` 422."""
    name = job.get("metadata", {}).get("name") or ""
    if causes := [*_name(name), *_labels(job, "metadata"), *_template(job.get("spec") or {})]:
        raise invalid("Job.batch", name, causes)


def _cause(field: str, message: str) -> Cause:
    return {"field": field, "message": message, "reason": "FieldValueInvalid"}


def _name(name: str) -> Iterator[Cause]:
    if not name:
        yield _cause("metadata.name", "Required value: name or generateName is required")
    elif not SUBDOMAIN.fullmatch(name):
        yield _cause("metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of …')
    elif len(name) > LONGEST:
        yield _cause("spec.template.labels", f'Invalid value: "{name}": must be no more than {LONGEST} characters')


def _labels(owner: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name, value in ((owner.get("metadata") or {}).get("labels") or {}).items():
        last = name.rpartition("/")[2]
        if not last or len(last) > LONGEST or not LABEL.fullmatch(last):
            yield _cause(f"{path}.labels", f'Invalid value: "{name}": name part must consist of alphanumeric …')
        if len(value) > LONGEST or not LABEL.fullmatch(value):
            yield _cause(f"{path}.labels", f'Invalid value: "{value}": a valid label must be … alphanumeric')


def _template(spec: Mapping[str, Any]) -> Iterator[Cause]:
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    yield from _labels(template, "spec.template")
    if pod.get("restartPolicy") not in _POLICIES:
        said = pod.get("restartPolicy") or ""
        yield _cause("spec.template.spec.restartPolicy", f'Unsupported value: "{said}": supported values: {_POLICIES}')
    if not pod.get("containers"):
        yield _cause("spec.template.spec.containers", "Required value")
    volumes = {volume.get("name") for volume in pod.get("volumes") or ()}
    for list_ in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(list_) or ()):
            yield from _container(container, f"spec.template.spec.{list_}[{number}]", volumes)
    for field in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if (spec.get(field) or 0) < 0:
            yield _cause(f"spec.{field}", f"Invalid value: {spec[field]}: must be greater than or equal to 0")


def _container(container: Mapping[str, Any], path: str, volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield _cause(f"{path}.name", "Required value")
    elif not NAME.fullmatch(name) or len(name) > LONGEST:
        yield _cause(f"{path}.name", f'Invalid value: "{name}": a lowercase RFC 1123 label must consist of …')
    if not container.get("image"):
        yield _cause(f"{path}.image", "Required value")
    for number, variable in enumerate(container.get("env") or ()):
        if not VARIABLE.fullmatch(variable.get("name") or ""):
            yield _cause(f"{path}.env[{number}].name", f'Invalid value: "{variable.get("name")}"')
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield _cause(f"{path}.volumeMounts[{number}].name", f'Not found: "{mount.get("name")}"')
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _resources(resources: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for kind in ("limits", "requests"):
        for name, quantity in (resources.get(kind) or {}).items():
            if not QUANTITY.fullmatch(str(quantity)):
                yield _cause(f"{path}.{kind}[{name}]", f'Invalid value: "{quantity}": quantities must match …')

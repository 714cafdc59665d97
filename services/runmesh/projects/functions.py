"""What a template may call: Mage's functions, and the filters and methods that a configuration needs.

Whatever could make something large from something small (`replace`, `join`, `range`) checks before it does.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Final

from jinja2.filters import FILTERS as JINJA_FILTERS

from runmesh.errors import nearest
from runmesh.projects.meter import check, limited
from runmesh.projects.secret import SECRET_FUNCTIONS

_OF_MAPPINGS: Final = {"get", "items", "keys", "values"}
_OF_TEXT: Final = {"capitalize", "endswith", "lower", "lstrip", "replace", "rsplit", "rstrip", "split", "startswith"}
METHODS: Final = _OF_MAPPINGS | _OF_TEXT | {"strip", "title", "upper"}
"""What may be called on text and mappings."""


class Refused(Exception):
    """A function can't do what the template asks of it."""


class Function:
    """Marks what a template may call; nothing else is callable."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - the function says what it does
        return self._call(*args, **kwargs)


def functions(environment: Mapping[str, str]) -> dict[str, Function]:
    """Return Mage's functions over one environment, by name (mage_ai get_template_vars)."""

    def env_var(name: str, default: Any = None) -> Any:
        return environment.get(name, default)

    calls: dict[str, Callable[..., Any]] = {"env_var": env_var, "json_value": json_value, "range": _range}
    return {name: Function(call) for name, call in calls.items()} | {name: _secret(name) for name in SECRET_FUNCTIONS}


def variables_function(variables: Mapping[str, Any]) -> Function:
    """Return the function `variables(name)`."""

    def look_up(name: str) -> Any:
        if name not in variables:
            hint = nearest(name, variables)
            raise Refused(f"there is no variable {name!r}{f': {hint}' if hint else ''}")
        return variables[name]

    return Function(look_up)


def json_value(text: str, path: str) -> Any:
    """Pick a value out of JSON text, by a key or by a dotted path of keys and indexes."""
    value = json.loads(text)
    if isinstance(value, dict) and path in value:
        return value[path]
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (LookupError, TypeError, ValueError):
            raise Refused(f"json_value: there is no {path!r} in the text") from None
    return value


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    """Replace a part of a text, as str.replace does."""
    text = str(value)
    check(len(text) + text.count(old) * len(new))
    return text.replace(old, new, count)


def join(items: Iterable[Any], separator: str = "") -> str:
    """Join the texts of some values."""
    texts = [str(item) for item in items]
    check(sum(map(len, texts)) + len(texts) * len(separator))
    return separator.join(texts)


def to_json(value: Any) -> str:
    """Write a value as JSON text on one line."""
    return json.dumps(value)


def _range(*bounds: int) -> range:
    result = range(*bounds)
    check(1 + max(0, (result.stop - result.start) // result.step))
    return result


def _secret(name: str) -> Function:
    def refuse(*_: Any, **__: Any) -> None:
        raise Refused(
            f"{name}: secret functions are not available here: use the platform's own way (a Kubernetes secret, the "
            "secrets of an ECS task definition, …), or an environment variable of the service"
        )

    return Function(refuse)


def _bounded(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)  # it keeps the mark of a filter that takes the environment
    def bounded(*args: Any, **kwargs: Any) -> Any:
        return limited(call(*args, **kwargs))

    return bounded


_FROM_JINJA: Final = "abs capitalize count d default first float int last length list lower string title trim upper"
FILTERS: Final = {name: _bounded(JINJA_FILTERS[name]) for name in _FROM_JINJA.split()} | {
    "join": _bounded(join),
    "replace": _bounded(replace),
    "tojson": _bounded(to_json),
}

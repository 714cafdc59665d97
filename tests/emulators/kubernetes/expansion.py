"""``$(VARIABLE)`` in commands, arguments and values, as a kubelet expands it; ``$$`` stands for one ``$``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^)]*)\))", re.DOTALL)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with what is known put in; what isn't known stays as it is written."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] is None else variables.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def environment(container: Mapping[str, Any], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a container's environment: a value may name what stands before it."""
    found: dict[str, str] = {}
    for variable in container.get("env") or ():
        found[variable["name"]] = expanded(variable.get("value") or "", found)
    return {**inherited, **found}


def argv(container: Mapping[str, Any], variables: Mapping[str, str]) -> Sequence[str]:
    """Return what a container runs."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expanded(word, variables) for word in words]

"""Variables in which an operator tells one executor type something: numbers, and lists of names.

What all services have in common is in `settings`; an executor reads what it is given of the environment by itself.
"""

from collections.abc import Mapping
from math import inf

from runmesh.errors import Invalid, Problem


def number(environment: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    """Return a variable's number. Raises `Invalid` for what is none, or less than `least`."""
    given = environment.get(name) or str(default)
    try:
        value = float(given)
    except ValueError:
        value = inf
    if not least <= value < inf:
        raise Invalid(Problem(name, f"must be a number from {least:g} on, not {given!r}"))
    return value


def names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return a variable's names, which commas separate."""
    return tuple(filter(None, environment.get(name, "").replace(" ", "").split(",")))

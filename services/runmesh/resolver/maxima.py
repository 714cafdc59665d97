"""How much may be asked for: the maxima of a policy, and what is over them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any

from runmesh.errors import Invalid, Problem
from runmesh.executor import ExecutorConfig
from runmesh.executors.kubernetes.quantities import quantity
from runmesh.resolver import mage
from runmesh.resolver.merging import Leaf
from runmesh.resolver.validation import TIME_LIMITS, Fault, config_of


@dataclass(frozen=True, slots=True)
class Maximum:
    """How much may be asked for."""

    value: object
    """As it is written."""
    amount: Fraction
    source: str
    """The file or variable that says so."""


def excessive(
    maxima: Mapping[str, Maximum], executor_type: str, found: Mapping[str, Leaf], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Yield a fault for every value over its maximum, and for what can't be compared with one.

    `found` are the leaves of `config`. What counts together is told as a sum.
    """
    model = config_of(executor_type) or ExecutorConfig
    for path, maximum in maxima.items():
        if path in found and (over := _over(maximum, path, (found[path].value,))):
            default = found[path].origin == "default"
            yield Fault(path, over, "set another default in the policy's `config`" if default else None)
        for place, asked in model.asked_besides(path, config):
            if over := _over(maximum, place, asked):
                yield Fault(path, over)


def _over(maximum: Maximum, place: str, asked: Sequence[object]) -> str | None:
    """Say that amounts are together over a maximum, if they are."""
    amounts = [_amount(place, value) for value in asked]
    known = [amount for amount in amounts if amount is not None]
    if len(known) == len(amounts) and sum(known) <= maximum.amount:
        return None
    what = f"{place} is {' + '.join(map(str, asked))}{' (no quantity)' if len(known) < len(amounts) else ''}"
    return f"{what}, the policy allows {maximum.value} at most ({maximum.source})"


def _amount(path: str, value: object) -> Fraction | float | None:
    """Return an amount; a time limit of nothing or less is none, and so over every maximum."""
    amount = quantity(value)
    return inf if path in TIME_LIMITS and amount is not None and amount <= 0 else amount


def maxima_of(environment: Mapping[str, str]) -> dict[str, Maximum]:
    """Return the maxima that Mage's variables for Kubernetes say. Raises `Invalid` for what is no quantity."""
    found = {path: (environment[name], name) for name, path in mage.MAXIMA.items() if environment.get(name)}
    wrong = [no_quantity(name, value) for value, name in found.values() if quantity(value) is None]
    if wrong:
        raise Invalid(*wrong)
    return {path: maximum(value, name) for path, (value, name) in found.items()}


def maximum(value: object, source: str) -> Maximum:
    """Return a maximum as it is written, and where."""
    return Maximum(value, quantity(value) or Fraction(0), source)


def tightest(one: Mapping[str, Maximum], two: Mapping[str, Maximum]) -> dict[str, Maximum]:
    """Return what holds where two say maxima."""
    both = {path: min(one[path], two[path], key=lambda maximum: maximum.amount) for path in one.keys() & two.keys()}
    return {**one, **two, **both}


def no_quantity(where: str, value: object) -> Problem:
    """Say that a value can't be compared with anything."""
    return Problem(where, f"{value!r} is no quantity", "write a number, or 500m, 2, 1Gi as Kubernetes does")

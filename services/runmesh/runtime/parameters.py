"""What a function takes, without `inspect` where the function is a plain one: importing that takes 8 ms."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple

_ARGS: Final = 0x04
_KWARGS: Final = 0x08
"""CO_VARARGS and CO_VARKEYWORDS of a code object's flags."""


class Parameters(NamedTuple):
    """How many parameters have a name, by kind, and whether there are `*args` and `**kwargs`."""

    positional: int
    keyword_only: int
    args: bool
    kwargs: bool


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Return what `inspect.signature` says: of a `functools.wraps` wrapper, what the wrapped function takes."""
    if type(function) is not FunctionType or function.__dict__.keys() & {"__wrapped__", "__signature__"}:
        return _inspected(function)
    code = function.__code__
    flags = code.co_flags
    return Parameters(code.co_argcount, code.co_kwonlyargcount, bool(flags & _ARGS), bool(flags & _KWARGS))


def _inspected(function: Callable[..., Any]) -> Parameters:
    from inspect import Parameter, signature  # noqa: PLC0415 - as above

    kinds = [parameter.kind for parameter in signature(function).parameters.values()]
    return Parameters(
        sum(kind in {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD} for kind in kinds),
        kinds.count(Parameter.KEYWORD_ONLY),
        Parameter.VAR_POSITIONAL in kinds,
        Parameter.VAR_KEYWORD in kinds,
    )

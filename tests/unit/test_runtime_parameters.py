"""What a block's function takes is read without `inspect`, and is what `inspect` says."""

import functools
import subprocess
import sys
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import pytest

from runmesh.runtime.parameters import Parameters, parameters_of


class Callables:
    def method(self, a: int, *args: int) -> None: ...

    def __call__(self, a: int, b: int, **kwargs: int) -> None: ...


def plain(a: int, b: int = 1, /, c: int = 2, *args: int, d: int, e: int = 3, **kwargs: int) -> None: ...


@functools.wraps(plain)
def wrapping(*args: Any, **kwargs: Any) -> None: ...


def signed(*args: Any) -> None: ...


signed.__signature__ = signature(Callables.method)  # type: ignore[attr-defined]


def nothing() -> None: ...


def only_args(*args: int) -> None: ...


def only_kwargs(**kwargs: int) -> None: ...


def keyword_only(a: int, *, b: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        plain,
        wrapping,
        signed,
        nothing,
        only_args,
        only_kwargs,
        keyword_only,
        functools.partial(plain, 1),
        Callables,
        Callables(),
        Callables().method,
    ],
)
def test_parameters_are_those_of_the_signature(function: Callable[..., Any]) -> None:
    kinds = [parameter.kind for parameter in signature(function).parameters.values()]
    positional = kinds.count(Parameter.POSITIONAL_ONLY) + kinds.count(Parameter.POSITIONAL_OR_KEYWORD)
    args, kwargs = Parameter.VAR_POSITIONAL in kinds, Parameter.VAR_KEYWORD in kinds
    assert parameters_of(function) == Parameters(positional, kinds.count(Parameter.KEYWORD_ONLY), args, kwargs)


def test_the_runtime_starts_without_what_is_slow_to_import() -> None:
    slow = "{'inspect', 'dataclasses', 'argparse', 'jinja2', 'tokenize', 'pydantic', 'asyncio', 'pandas'}"
    script = f"import runmesh.runtime.command, sys; print(sorted({slow} & set(sys.modules)))"

    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"

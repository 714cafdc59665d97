"""Every line that the services log names the action that it is about, in so many words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import runmesh

PACKAGE = Path(runmesh.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def lines(module: Path) -> Iterator[ast.Call]:
    """Yield what a module logs by structlog (`bus` is a library for other programs, too, and has no structlog)."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=level)) if level in LEVELS:
                yield node


MODULES = [module for module in PACKAGE.rglob("*.py") if PACKAGE / "bus" not in module.parents and [*lines(module)]]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_every_line_names_its_action(module: Path) -> None:
    without = [
        f"{module}:{line.lineno}" for line in lines(module) if "action" not in [each.arg for each in line.keywords]
    ]
    assert without == []


def test_there_are_lines() -> None:
    assert len(MODULES) > 20

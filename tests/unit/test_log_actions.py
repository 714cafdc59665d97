"""Every line that the services log names the action that it is about, in so many words."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runmesh

PACKAGE = Path(runmesh.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def lines(module: Path) -> Iterator[ast.Call]:
    """Yield what a module logs."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=level)) if level in LEVELS:
                yield node


def names_action(line: ast.Call) -> bool:
    """By structlog, or as `bus` does, which is a library for other programs, too."""
    return bool({"action", "extra"} & {each.arg for each in line.keywords})


MODULES = [module for module in PACKAGE.rglob("*.py") if [*lines(module)]]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_every_line_names_its_action(module: Path) -> None:
    assert [f"{module}:{line.lineno}" for line in lines(module) if not names_action(line)] == []


def test_there_are_lines() -> None:
    assert len(MODULES) > 20


def test_a_librarys_line_is_about_the_library_unless_it_says_more() -> None:
    program = """
import logging
from runmesh.logs import configure
from runmesh.settings import Settings
configure("resolver", Settings(log_format="json"))
logging.getLogger("aiohttp.client").warning("Unclosed client session")
logging.getLogger("runmesh.bus.link").warning("connection to NATS lost", extra={"action": "connect"})
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert [json.loads(line)["action"] for line in said.splitlines()] == ["aiohttp.client", "connect"]

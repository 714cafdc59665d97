"""What is wrong with a block's source, found without running it: a missing file, no Python, nothing decorated.

A run finds the same only when it comes to the block. A decorator counts as the runtime counts it: applied in the
block's own source, under its own name or the one that it is imported as.
"""

import ast
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from runmesh.errors import Invalid, nearest
from runmesh.projects import files
from runmesh.projects.model import Block, Pipeline, Project

_DECORATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "callback": ("callback", "on_failure", "on_success"),
    "conditional": ("condition",),
    "custom": ("custom",),
    "data_exporter": ("data_exporter", "data_integration_destination"),
    "data_loader": ("data_loader", "data_integration_source"),
    "sensor": ("sensor",),
    "transformer": ("transformer",),
}
"""By the types of blocks whose code is theirs: what Mage looks for, the usual one first."""
_ALL: Final = frozenset(name for names in _DECORATORS.values() for name in names)
_FUNCTIONS: Final = frozenset({"python", "pyspark"})
"""Types of pipelines whose Python blocks are functions; a streaming pipeline's may be classes."""
_COMPARED: Final = 500
"""Files of a folder, among more of which the nearest to a missing one takes too long to find."""
_PYTHON: Final = f"Python {sys.version_info.major}.{sys.version_info.minor}"


class Fault(NamedTuple):
    """One thing that is wrong with a source."""

    message: str
    hint: str | None = None
    file: str | None = None
    """Below the project; None: it concerns the block as its pipeline's document has it."""
    line: int | None = None


def faults_of(project: Project, pipeline: Pipeline, block: Block) -> Iterator[Fault]:
    """Yield what is wrong with a block's source. Raises `UnsafePath` for a file outside the project."""
    if block.type not in _DECORATORS:
        return
    path = project.block_path(block)
    wanted = _DECORATORS[block.type] if pipeline.type in _FUNCTIONS else ()
    if path is None:
        yield from map(_embedded, _in_code(block, block.content or "", wanted))
        return
    name = os.path.relpath(path, project.path)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for what it may not look at
        yield Fault(f"its file {name} is missing", nearest(name, _beside(path, project.path)))
        return
    try:
        source = files.read(path, name, files.LARGEST_SOURCE)
    except Invalid as error:
        yield from (Fault(problem.message, problem.hint, name) for problem in error.problems)
        return
    yield from (fault._replace(file=name) for fault in _in_code(block, source, wanted))


def _beside(path: Path, project: Path) -> list[str]:
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    folder = os.path.relpath(path.parent, project)
    return [f"{folder}/{name}" for name in names if name.endswith(path.suffix)] if len(names) <= _COMPARED else []


def _embedded(fault: Fault) -> Fault:
    where = "its content" if fault.line is None else f"line {fault.line} of its content"
    return Fault(f"{where} {fault.message}", fault.hint)


def _in_code(block: Block, source: str, wanted: Collection[str]) -> Iterator[Fault]:
    if block.language != "python":
        return
    try:
        tree = _tree(source)
    except SyntaxError as error:
        yield Fault(f"is no {_PYTHON}: {error.msg}", line=error.lineno)
    except (ValueError, RecursionError, MemoryError) as error:
        yield Fault(f"is no {_PYTHON}: {error}")
    else:
        if wanted:
            yield from _undecorated(tree, wanted)


def _tree(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
        compile(tree, "", "exec", dont_inherit=True)  # finds more: a return outside a function, say
    return tree


def _undecorated(tree: ast.Module, wanted: Collection[str]) -> Iterator[Fault]:
    applied = dict(_applied(tree))
    if applied.keys() & wanted:
        return
    usual, others = next(iter(wanted)), sorted(applied.keys() & _ALL)
    functions = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    line = applied[others[0]] if others else min(functions, default=1)
    yield Fault(f"decorates no function with @{usual}", f"it has @{others[0]}" if others else None, line=line)


def _applied(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what is called or decorates something, by the name that it is imported by, with the line."""
    names = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        for each in [*decorators, *([node.func] if isinstance(node, ast.Call) else [])]:
            name = each.id if isinstance(each, ast.Name) else each.attr if isinstance(each, ast.Attribute) else ""
            yield names.get(name, name), each.lineno

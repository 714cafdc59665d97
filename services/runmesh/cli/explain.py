"""`runmesh explain`: what would run where, with which configuration, and why. Needs no NATS."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, project_dir
from runmesh.cli.exits import Exit
from runmesh.cli.lines import label
from runmesh.errors import Invalid, Problem, nearest
from runmesh.projects.fanout import PARTED, Kind
from runmesh.resolver import explain as explain_project
from runmesh.resolver.explanation import BlockExplanation, Explanation, plain
from runmesh.settings import environment
from runmesh.subjects import CALLBACK, CONDITION, WHOLE_PIPELINE

app = typer.Typer()

_TARGET: Final = "A pipeline, and before it its project: a folder, or a name in RUNMESH_PROJECTS_DIR."
_GETS: Final = {
    Kind.WHOLE: "all of ",
    Kind.ITEMS: "one item of ",
    Kind.EACH: "one child of ",
    Kind.ITEMS_OF_EACH: "one item of one child of ",
    Kind.ALL: "a list of all children of ",
}
_STYLES: Final = {"default": "dim", "policy": "bold magenta"}
"""Of levels: what the installation insists on stands out."""


@app.command("explain")
def explain(
    target: Annotated[list[str], typer.Argument(metavar="[PROJECT] PIPELINE", help=_TARGET, show_default=False)],
    *,
    block: Annotated[list[str] | None, typer.Option(help="Show only this block; may be repeated.")] = None,
    executor_type: Annotated[
        str | None, typer.Option(help="As if the request had asked for it.", show_default=False)
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Likewise: native or mage.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Say for every block which executor runs it and which level chose that, and where every value comes from.

    It is what the resolver itself would decide, and it exits 1 if the resolver would reject the request. A value that
    Mage would answer otherwise is marked.
    """
    directory, pipeline = _target(target)
    request = {"pipeline": pipeline, "executor_type": executor_type or None, "runtime": runtime}
    explanation = explain_project(directory, pipeline, request=request, environment=environment())
    shown = _only(explanation, block)
    if json:
        output.emit({**plain(explanation), "blocks": plain(shown)})
    else:
        _print(output.out(), explanation, shown)
    raise typer.Exit(Exit.FAILED if explanation.errors else Exit.OK)


def _target(words: list[str]) -> tuple[Path, str]:
    match words:
        case [pipeline]:
            return project_dir(None), pipeline
        case [project, pipeline]:
            return project_dir(project), pipeline
        case _:
            raise Invalid(Problem("arguments", "too many", "runmesh explain [PROJECT] PIPELINE"))


def _only(explanation: Explanation, names: list[str] | None) -> dict[str, BlockExplanation]:
    for name in names or ():
        if name not in explanation.blocks and explanation.blocks:
            raise Invalid(Problem("--block", f"there is no block {name!r}", nearest(name, explanation.blocks)))
    return {name: found for name, found in explanation.blocks.items() if not names or name in names}


# --- as text -----------------------------------------------------------------------------------------


def _print(console: Console, explanation: Explanation, blocks: Mapping[str, BlockExplanation]) -> None:
    pipeline = explanation.pipeline
    how = "one task" if pipeline.whole else "a task for each block"
    console.print(Text.assemble((pipeline.name, "bold"), (f"  {explanation.project}", "dim"), f"  {how}\n"))
    shown = {WHOLE_PIPELINE: pipeline} if pipeline.whole else blocks
    for name, found in shown.items():
        called = pipeline.name if pipeline.whole else name
        steps = {label(step): explanation.steps[step] for step in _steps(explanation, name)}
        console.print(_block(called, found, steps))
    for line in (*_problems("warning", "yellow", explanation.warnings), *_problems("error", "red", explanation.errors)):
        console.print(line)


def _steps(explanation: Explanation, name: str) -> list[str]:
    return [step for step in (f"{CONDITION}{name}", f"{CALLBACK}{name}") if step in explanation.steps]


def _block(name: str, found: BlockExplanation, steps: Mapping[str, BlockExplanation]) -> RenderableType:
    does = [Text(f"  {line}") for line in _does(found)]
    return Group(_head(name, found), *does, _values(found), *_skipped(found), *starmap(_step, steps.items()), Text())


def _head(name: str, found: BlockExplanation) -> Text:
    head = Text.assemble((name, "bold"), "  ", (found.executor_type or "?", "cyan"), (f"  by {found.level}", "dim"))
    if found.pool != "default":
        head.append(f"  pool {found.pool}")
    if upstream := [above for above in found.upstream if not above.startswith(CONDITION)]:
        head.append(f"  ← {', '.join(upstream)}", "bright_black")
    if "executor_type" in found.differs:
        head.append(f"  differs: mage runs it on {found.differs['executor_type']}", "yellow")
    return head


def _step(called: str, found: BlockExplanation) -> Text:
    return Text(f"  {called}: a task of their own, on {found.executor_type}, for {found.timeout:g} s at most", "dim")


def _does(found: BlockExplanation) -> Iterator[str]:
    """Say what is particular about a block."""
    if found.is_command:
        yield f"command: {_short(shlex.join(found.command), 200)}"
    if found.dynamic:
        yield "dynamic: what is below it runs once per item that it returns"
    if found.inputs:
        yield f"{_times(found)}, with {', '.join(_GETS[Kind(kind)] + name for name, kind in found.inputs.items())}"
    if found.conditional:
        yield "has conditions: its own job evaluates them first"
    if found.callbacks:
        yield f"has callbacks for {' and '.join(found.callbacks)}: where its own job can't run them, a task does"


def _times(found: BlockExplanation) -> str:
    match sum(kind in PARTED for kind in found.inputs.values()):
        case 0:
            return "runs once"
        case 1:
            return "runs many times"
    return "runs for every combination"


def _values(found: BlockExplanation) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    for path, value in _leaves(found.config):
        if value in ({}, []):
            continue
        differs = Text()
        if path in found.differs:
            differs = Text(f"differs: mage {_short(found.differs[path])}", "yellow")
        level = next((found.provenance[above] for above in _prefixes(path) if above in found.provenance), "")
        table.add_row(Text(f"  {path}"), _short(value), Text(level, _STYLES.get(level, "green")), differs)
    return table


def _skipped(found: BlockExplanation) -> Iterator[Text]:
    for each in found.skipped:
        if each.value not in (None, "", {}):
            yield Text(f"  not used: {each.level} {_short(each.value)}: {each.reason}", "dim")


def _problems(kind: str, style: str, problems: Iterable[Problem]) -> list[Text]:
    return [
        Text.assemble((f"{kind}  ", style), (each.path, "bold"), f"  {each.message}")
        + Text(f"  → {each.hint}" if each.hint else "", "cyan")
        for each in problems
    ]


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _prefixes(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"

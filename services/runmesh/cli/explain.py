"""`runmesh explain`: what would run where, with which configuration, and why. Needs no NATS."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, project_dir
from runmesh.cli.exits import Exit
from runmesh.errors import Invalid, Problem, nearest
from runmesh.resolver import explain as explain_project
from runmesh.resolver.explanation import BlockExplanation, Explanation, plain
from runmesh.settings import environment

app = typer.Typer()


@app.command("explain")
def explain(
    target: Annotated[list[str], typer.Argument(metavar="[PROJECT] PIPELINE", show_default=False)],
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
    shown = {pipeline.name: pipeline} if pipeline.whole else blocks
    for name, found in shown.items():
        console.print(_block(name, found))
    for line in (*_problems("warning", "yellow", explanation.warnings), *_problems("error", "red", explanation.errors)):
        console.print(line)


def _block(name: str, found: BlockExplanation) -> RenderableType:
    head = Text.assemble((name, "bold"), "  ", (found.executor_type or "?", "cyan"), (f"  by {found.level}", "dim"))
    if found.pool != "default":
        head.append(f"  pool {found.pool}")
    if found.upstream:
        head.append(f"  ← {', '.join(found.upstream)}", "bright_black")
    if "executor_type" in found.differs:
        head.append(f"  differs: mage runs it on {found.differs['executor_type']}", "yellow")
    return Group(head, _values(found), *_skipped(found), Text())


def _values(found: BlockExplanation) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    for path, value in _leaves(found.config):
        if value in ({}, []):
            continue
        differs = Text()
        if path in found.differs:
            differs = Text(f"differs: mage {_short(found.differs[path])}", "yellow")
        level = next((found.provenance[above] for above in _prefixes(path) if above in found.provenance), "")
        table.add_row(Text(f"  {path}"), _short(value), Text(level, "green" if level != "default" else "dim"), differs)
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


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - a column's width


# --- as JSON -----------------------------------------------------------------------------------------

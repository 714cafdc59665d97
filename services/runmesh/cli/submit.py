"""`runmesh submit`: start a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from runmesh.cli import output
from runmesh.cli.context import Json, Project, mesh, project_or_default
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import first_answer, follow_own
from runmesh.cli.pipeline_file import read_pipeline_file
from runmesh.errors import Invalid, Problem

app = typer.Typer()

_Name = Annotated[str | None, typer.Argument(help="The pipeline's name.", show_default=False)]
_File = Annotated[
    Path | None, typer.Option(help="Or its document in YAML or JSON: `-` is standard input.", show_default=False)
]
_Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow the run until it has ended.")]
_Variables = Annotated[list[str] | None, typer.Option(help="A variable, name=value; the value is JSON, else text.")]
_Blocks = Annotated[list[str] | None, typer.Option(help="Run only this block; may be repeated.")]
_Upstream = Annotated[bool, typer.Option("--upstream", help="... and all that is above those blocks.")]
_Downstream = Annotated[bool, typer.Option("--downstream", help="... and all that is below those blocks.")]
_ExecutorType = Annotated[str | None, typer.Option(help="Run every block there.", show_default="chosen")]
_Runtime = Annotated[str | None, typer.Option(help="native or mage, for every block.", show_default="chosen")]
_Id = Annotated[str | None, typer.Option(help="The run's id; the same id is the same run.")]
_Labels = Annotated[list[str] | None, typer.Option(help="A label, name=value; may be repeated.")]
_Timeout = Annotated[float | None, typer.Option(help="Seconds after which the run is stopped.")]
_Lenient = Annotated[bool, typer.Option("--allow-blocks-to-fail", help="Go on beside failures.")]


@app.command("submit")
def submit(  # noqa: PLR0913 - one for each thing that a request may say
    pipeline: _Name = None,
    *,
    pipeline_file: _File = None,
    project: Project = None,
    watch: _Watch = False,
    var: _Variables = None,
    block: _Blocks = None,
    upstream: _Upstream = False,
    downstream: _Downstream = False,
    executor_type: _ExecutorType = None,
    runtime: _Runtime = None,
    id: _Id = None,  # noqa: A002
    label: _Labels = None,
    timeout: _Timeout = None,
    allow_blocks_to_fail: _Lenient = False,
    json: Json = False,
) -> None:
    """Start a run of a pipeline and print the run's id.

    Exits 0 when it is under way; with --watch 0 only if the run completed, 1 if not. Exits 3 if it was rejected.
    """
    fields: dict[str, Any] = {
        "id": id,
        "variables": {name: _value(text) for name, text in _pairs("--var", var)},
        "blocks": _selection(block, upstream=upstream, downstream=downstream),
        "executor_type": executor_type,
        "runtime": runtime,
        "labels": dict(_pairs("--label", label)),
        "timeout": timeout,
        "allow_blocks_to_fail": allow_blocks_to_fail or None,
    }
    run_command(_start(_pipeline(pipeline, pipeline_file), fields, project=project, watch=watch, json=json))


async def _start(
    asked: str | dict[str, Any], fields: Mapping[str, Any], *, project: str | None, watch: bool, json: bool
) -> Exit:
    where = project_or_default(project)
    async with mesh() as connected:
        run = await connected.submit(asked, project=where, **fields)
        if watch:
            return await follow_own(connected, run, as_json=json, fresh=fields["id"] is None)
        if json:
            output.emit({"run": run, "project": where, "pipeline": _called(asked)})
        else:
            output.out().print(run)
        return await first_answer(connected, run)


def _pipeline(name: str | None, file: Path | None) -> str | dict[str, Any]:
    if name and file is None:
        return name
    if file is None or name:
        raise Invalid(Problem("pipeline", "say which one", "by its name, or with --pipeline-file"))
    return read_pipeline_file(file)


def _called(asked: str | dict[str, Any]) -> str:
    return asked if isinstance(asked, str) else str(asked.get("uuid") or asked.get("name") or "inline")


def _selection(names: Sequence[str] | None, *, upstream: bool, downstream: bool) -> dict[str, Any] | None:
    if names:
        return {"names": list(names), "upstream": upstream, "downstream": downstream}
    if upstream or downstream:
        raise Invalid(Problem("--upstream/--downstream", "of which block?", "name it with --block"))
    return None


def _pairs(option: str, texts: Sequence[str] | None) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts or ()]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise Invalid(Problem(option, f"{name!r} has no value", f"write {option} {name or 'name'}=value"))
    return [(name, value) for name, _, value in pairs]


def _value(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return text

"""`runmesh submit`: start a run."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic_core import from_json

from runmesh.cli import output
from runmesh.cli.context import Json, Project, mesh, project_or_default
from runmesh.cli.exits import Exit
from runmesh.cli.exits import run as run_command
from runmesh.cli.follow import follow_own
from runmesh.cli.pipeline_file import read_pipeline_file
from runmesh.client import Mesh
from runmesh.errors import Invalid, Problem
from runmesh.events import RunFact, RunState

app = typer.Typer()

_ANSWER_WITHIN: Final = 1.0


@app.command("submit")
def submit(  # noqa: PLR0913 - one for each thing that a request may say
    pipeline: Annotated[str | None, typer.Argument(help="The pipeline's name.", show_default=False)] = None,
    *,
    pipeline_file: Annotated[
        Path | None, typer.Option(help="Or its document in YAML or JSON: `-` is standard input.", show_default=False)
    ] = None,
    project: Project = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run until it has ended.")] = False,
    var: Annotated[list[str] | None, typer.Option(help="A variable, name=value; the value is JSON, else text.")] = None,
    block: Annotated[list[str] | None, typer.Option(help="Run only this block; may be repeated.")] = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="... and all that is above those blocks.")] = False,
    downstream: Annotated[bool, typer.Option("--downstream", help="... and all that is below those blocks.")] = False,
    executor_type: Annotated[str | None, typer.Option(help="Run every block there.", show_default="chosen")] = None,
    runtime: Annotated[str | None, typer.Option(help="native or mage, for every block.", show_default="chosen")] = None,
    id: Annotated[str | None, typer.Option(help="The run's id; the same id is the same run.")] = None,  # noqa: A002
    label: Annotated[list[str] | None, typer.Option(help="A label, name=value; may be repeated.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the run is stopped.")] = None,
    allow_blocks_to_fail: Annotated[
        bool, typer.Option("--allow-blocks-to-fail", help="Go on beside failures.")
    ] = False,
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

    asked = _pipeline(pipeline, pipeline_file)

    async def work() -> Exit:
        where = project_or_default(project)
        async with mesh() as connected:
            run = await connected.submit(asked, project=where, **fields)
            if watch:
                return await follow_own(connected, run, as_json=json, fresh=id is None)
            if json:
                output.emit({"run": run, "project": where, "pipeline": _called(asked)})
            else:
                output.out().print(run)
            return await _first_answer(connected, run)

    run_command(work())


async def _first_answer(connected: Mesh, run: str) -> Exit:
    """Wait a moment for the resolver's word: a request that it rejects should not look like a success."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_WITHIN):
            await connected.taken(run)
            async for fact in connected.watch(run):
                if isinstance(fact, RunFact):
                    return _answered(fact)
    output.say("the request is stored; no resolver has taken it yet")
    return Exit.OK


def _answered(fact: RunFact) -> Exit:
    if fact.state != RunState.REJECTED:
        return Exit.OK
    for problem in fact.errors or ():
        hint = f" ({problem.hint})" if problem.hint else ""
        output.err().print(f"runmesh: rejected: {problem.path}: {problem.message}{hint}", markup=False)
    return Exit.REJECTED


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

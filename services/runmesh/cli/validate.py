"""`runmesh validate`: every mistake of a project at once, one a line, as compilers print them. Needs no NATS."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from runmesh.cli import output
from runmesh.cli.context import Json, project_dir
from runmesh.cli.exits import Exit
from runmesh.resolver.findings import Report, findings_in
from runmesh.resolver.located import Finding, Severity
from runmesh.settings import environment

app = typer.Typer()

_STYLES: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@app.command("validate")
def validate(
    project: Annotated[
        str | None, typer.Argument(help="A folder, or a name in RUNMESH_PROJECTS_DIR.", show_default=False)
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Find every mistake in all pipelines of a project, and exit 1 if one of them is an error.

    Checked are the documents, what `explain` decides, and the blocks' sources, which nothing here runs. Every line
    begins with file and line number, as those of compilers, so that an editor can jump there.
    """
    directory = project_dir(project)
    report = findings_in(directory, environment=environment())
    if json:
        output.emit(_plain(report, directory))
    else:
        for finding in report.findings:
            output.out().print(_line(finding, directory), soft_wrap=True)
        output.out().print(_summary(report))
    raise typer.Exit(Exit.FAILED if report.count(Severity.ERROR) else Exit.OK)


def _line(finding: Finding, directory: Path) -> Text:
    place = f"{_seen(directory, finding.file)}:{finding.line}: " if finding.file else ""
    kind = f"{finding.severity}: " if finding.severity is not Severity.ERROR else ""
    path = f"{finding.path}: " if finding.path else ""
    hint = f", {finding.hint}" if finding.hint else ""
    parts = ((place, "bold"), (kind, _STYLES[finding.severity]), (path, ""), (finding.message, ""), (hint, "cyan"))
    return Text.assemble(*((_on_one_line(text), style) for text, style in parts))


def _summary(report: Report) -> Text:
    total = len(report.pipelines)
    pipelines = "1 pipeline" if total == 1 else f"{total} pipelines"
    counts = {severity: report.count(severity) for severity in Severity}
    if not any(counts.values()):
        return Text(f"no problems in {pipelines}", "green")
    found = (f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items() if count)
    style = _STYLES[Severity.ERROR if counts[Severity.ERROR] else Severity.WARNING]
    return Text(f"{', '.join(found)} in {sum(map(bool, report.pipelines.values()))} of {pipelines}", style)


def _plain(report: Report, directory: Path) -> dict[str, object]:
    found = [each._replace(file=_seen(directory, each.file))._asdict() for each in report.findings]
    counts = {f"{severity}s": report.count(severity) for severity in Severity}
    return {"project": report.project, "pipelines": len(report.pipelines), **counts, "findings": found}


def _seen(directory: Path, file: str | None) -> str | None:
    """Return a file's path as it can be opened from here; what can't be written in a name is replaced."""
    if file is None:
        return None
    path = directory / file
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return os.fsencode(here).decode(errors="replace")


def _on_one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)

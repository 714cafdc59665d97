"""The command line.

A command lives in the module that the table here names, and is imported when it is called: `runmesh --help`
must answer at once, and the mesh's own modules take a while to load.

Exit codes, which scripts may trust, are those of `exits.Exit`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from runmesh import __version__
from runmesh.cli.exits import EXIT_CODES, exit_code

_MESH, _RUNS, _CARE = "A mesh", "Runs", "When something is wrong"
COMMANDS: Final = {
    "demo": ("demo", _MESH, "Watch an example project run, on a mesh of its own."),
    "up": ("up", _MESH, "Run a whole mesh on this machine, until Ctrl-C."),
    "provision": ("services", _MESH, "Make every stream, consumer and bucket on a NATS server."),
    "permissions": ("permissions", _MESH, "Write the users of a NATS server, with what each may do."),
    "resolver": ("services", _MESH, "Run the service that turns requests into tasks."),
    "executor": ("services", _MESH, "Run the service that executes the tasks of one type."),
    "workers": ("workers", _MESH, "List the workers that are alive."),
    "submit": ("submit", _RUNS, "Start a run of a pipeline."),
    "watch": ("watch", _RUNS, "Follow a run, live or from what is stored."),
    "logs": ("watch", _RUNS, "Print what a run's blocks wrote."),
    "runs": ("runs", _RUNS, "List runs."),
    "show": ("runs", _RUNS, "Show one run."),
    "cancel": ("change", _RUNS, "Stop a run, or some of its blocks."),
    "retry": ("change", _RUNS, "Run again what did not complete."),
    "explain": ("explain", _CARE, "Say what would run where, with which configuration, and why."),
    "validate": ("validate", _CARE, "Find every mistake in a project, with file and line."),
    "doctor": ("doctor", _CARE, "Check this machine, the server and the mesh."),
    "dead": ("dead", _CARE, "Look after messages that could not be handled."),
}
"""Every command: its module, the panel of `--help` it stands in, and its summary there."""


class Lazy(TyperGroup):
    """Knows the commands by their summaries, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that is called, as it really is."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else command, rest


def _load(name: str) -> Any:
    app = import_module(f"runmesh.cli.{COMMANDS[name][0]}").app
    command = typer.main.get_group(app).commands[name]
    command.help = _reflowed(command.help or "")
    return command


def _reflowed(text: str) -> str:
    """Return paragraphs without the line breaks of our source: a terminal has its own width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _summary() -> None:
    """Stand in for a command in `--help`."""


app = typer.Typer(
    cls=Lazy,
    help=f"Run data pipelines on whichever compute fits, over NATS.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_module, _panel, _text) in COMMANDS.items():
    app.command(_name, help=_text, rich_help_panel=_panel)(_summary)


def _tell_version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        typer.echo(f"runmesh {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")]


@app.callback()
def _before_any(*, _version: _Version = False) -> None:
    """Take the options that stand before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale that knows no ✓ shows a ?
    sys.exit(call(sys.argv[1:] if arguments is None else arguments))


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what goes wrong is one line on stderr for each problem."""
    try:
        app(list(arguments), prog_name="runmesh")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return exit_code(KeyboardInterrupt())
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody is shown a traceback unasked
        return exit_code(error)
    return 0

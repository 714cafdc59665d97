"""`runmesh dead`: messages that could not be handled, kept whole with the reason."""

import zlib
from base64 import b64decode
from typing import Annotated, Final

import typer
from rich.text import Text

from runmesh import cloudevents, subjects
from runmesh.bus import Bus, Message
from runmesh.cli import output
from runmesh.cli.context import Json, mesh
from runmesh.cli.exits import run as run_command
from runmesh.errors import Invalid, Problem, Undecodable
from runmesh.events import DeadLetter

app = typer.Typer()
commands = typer.Typer(help="Look after messages that could not be handled.", no_args_is_help=True)
app.add_typer(commands, name="dead")

_PRIVATE_HEADERS: Final = "nats-"
"""The server's own headers: an expectation or an id of the first publish must not decide about another one."""

Number = Annotated[int, typer.Argument(help="Its number, as `runmesh dead list` shows it.", show_default=False)]
Numbers = Annotated[list[int], typer.Argument(help="Their numbers.", show_default=False)]


@commands.command("list")
def list_letters(*, json: Json = False) -> None:
    """List dead letters, oldest first."""

    async def work() -> None:
        table = output.table("number", "when", "service", "reason", "subject", "error")
        async with mesh() as connected:
            async for message in connected.bus.replay(subjects.DEAD):
                letter, service = _read(message), _service(message)
                if json:
                    output.emit(
                        {"number": message.sequence, "service": service, **letter.model_dump(exclude_none=True)}
                    )
                else:
                    error = Text(letter.error, no_wrap=True, overflow="ellipsis")
                    table.add_row(
                        str(message.sequence), output.ago(letter.at), service, letter.reason, letter.subject, error
                    )
        if table.row_count:
            output.out().print(table)
        elif not json:
            output.say("no dead letters")

    run_command(work())


@commands.command("show")
def show(number: Number, *, json: Json = False) -> None:
    """Show one dead letter whole."""

    async def work() -> None:
        async with mesh() as connected:
            letter = _read(await _find(connected.bus, number))
        if json:
            output.emit(letter)
            return
        console = output.out()
        for name in ("subject", "reason", "error", "deliveries", "at"):
            console.print(Text.assemble((f"{name:<12}", "dim"), str(getattr(letter, name))))
        for name, value in letter.headers.items():
            console.print(Text.assemble(("header      ", "dim"), f"{name}: {value}"))
        console.print(Text(f"\n{body_of(letter).decode(errors='backslashreplace')}"))

    run_command(work())


@commands.command("replay")
def replay(numbers: Numbers) -> None:
    """Publish messages once more where they came from, and drop their letters."""

    async def work() -> None:
        async with mesh() as connected:
            for number in numbers:
                letter = _read(await _find(connected.bus, number))
                if letter.truncated:
                    raise Invalid(Problem(str(number), "the letter holds only a part of the message", "drop it"))
                headers = {
                    name: value
                    for name, value in letter.headers.items()
                    if not name.lower().startswith(_PRIVATE_HEADERS)
                }
                await connected.bus.publish(letter.subject, body_of(letter), headers=headers)
                await connected.bus.delete_message(subjects.DEAD, number)
                output.say(f"{number}: published again on {letter.subject}")

    run_command(work())


@commands.command("drop")
def drop(numbers: Numbers) -> None:
    """Delete letters for good."""

    async def work() -> None:
        async with mesh() as connected:
            for number in numbers:
                await _find(connected.bus, number)
                await connected.bus.delete_message(subjects.DEAD, number)
                output.say(f"{number}: dropped")

    run_command(work())


def body_of(letter: DeadLetter) -> bytes:
    """Return the message's body as it was."""
    match letter.encoding:
        case "utf-8":
            return letter.body.encode()
        case "base64":
            return b64decode(letter.body)
        case "zlib+base64":
            return zlib.decompress(b64decode(letter.body))


def _service(message: Message) -> str:
    return subjects.untoken(message.subject.split(".")[2])


def _read(message: Message) -> DeadLetter:
    try:
        return cloudevents.decode(DeadLetter, message.headers, message.data)
    except (Invalid, Undecodable) as error:
        raise Undecodable(f"message {message.sequence} of {subjects.DEAD} is no dead letter: {error}") from None


async def _find(bus: Bus, number: int) -> Message:
    async for message in bus.replay(subjects.DEAD):
        if message.sequence == number:
            return message
    raise Invalid(Problem("number", f"there is no dead letter {number}", "`runmesh dead list` shows them"))

"""`runmesh dead`: messages that could not be handled, kept whole with the reason.

What is replayed comes back as it was, with one exception. A request that was poison has its answer: a rejected run of
its id, for ever. So it gets another id, which is the same one however often the same letter is replayed.
"""

import zlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import typer
from pydantic_core import from_json, to_json
from rich.text import Text

from runmesh import cloudevents, subjects
from runmesh.bus import Bus, Message
from runmesh.bus.message import Headers
from runmesh.cli import output
from runmesh.cli.context import Json, mesh
from runmesh.cli.exits import run as run_command
from runmesh.client import Mesh
from runmesh.errors import Invalid, Problem, Undecodable
from runmesh.events import DeadLetter

app = typer.Typer()
commands = typer.Typer(help="Look after messages that could not be handled.", no_args_is_help=True)
app.add_typer(commands, name="dead")

_PRIVATE_HEADERS: Final = "nats-"
"""The server's own headers: an expectation or an id of the first publish must not decide about another one."""
_BEGINS_A_RUN: Final = (f"{subjects.ANY_REQUEST}run.", f"{subjects.ANY_REQUEST}retry.")
_LONGEST_ID: Final = 36
"""Characters of a run's id that are kept in the next one's."""

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
                await _check(connected, number, letter)
                again = again_of(letter, number)
                # With an id: interrupted before the letter is deleted, the next replay publishes nothing.
                await connected.bus.publish(
                    letter.subject, again.body, headers=again.headers, message_id=f"dead.{number}"
                )
                await connected.bus.delete_message(subjects.DEAD, number)
                output.say(f"{number}: published again on {letter.subject}{f' as {again.run}' if again.run else ''}")

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


class Again(NamedTuple):
    """A message to publish once more, and the run that it asks for where that is another one than before."""

    body: bytes
    headers: dict[str, str]
    run: str | None = None


def again_of(letter: DeadLetter, number: int) -> Again:
    """Return what a letter's replay publishes."""
    body, headers = body_of(letter), letter.headers
    if letter.reason == "poison" and letter.subject.startswith(_BEGINS_A_RUN):
        document = _document(Headers(headers), body)
        if isinstance(document.get("id"), str):
            run = f"{document['id'][:_LONGEST_ID]}-replay-{number}"
            return Again(to_json({**document, "id": run}), cloudevents.trace_of(Headers(headers)), run)
    return Again(
        body, {name: value for name, value in headers.items() if not name.lower().startswith(_PRIVATE_HEADERS)}
    )


def _document(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    try:
        document = from_json(cloudevents.open_envelope(headers, body).body)
    except (ValueError, Undecodable):
        return {}
    return document if isinstance(document, dict) else {}


async def _check(connected: Mesh, number: int, letter: DeadLetter) -> None:
    """Refuse what can't be published again, and what would change nothing any more."""
    if letter.truncated:
        raise Invalid(Problem(str(number), "the letter holds only a part of the message", "drop it"))
    if not letter.subject.startswith((subjects.ANY_COMMAND, subjects.ANY_TASK_FACT)):
        return
    try:
        address = subjects.task_address(letter.subject)
        view = await connected.show(address.run)
    except (Invalid, ValueError):  # of no run that is known: what was meant is for others to say
        return
    block = view.blocks.get(address.block) if letter.subject.startswith(subjects.ANY_COMMAND) else None
    if view.ended or (block and block.ended):
        over = f"run {view.run!r}" if view.ended else f"block {address.block!r} of run {view.run!r}"
        raise Invalid(Problem(str(number), f"{over} has ended", f"`runmesh retry {view.run}`, then drop the letter"))


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
